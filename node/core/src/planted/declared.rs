//! How the list of bugs becomes an enum, and what is asked of each.

/// What is declared of a bug, if anything.
macro_rules! declared {
    () => {
        None
    };
    ($catcher:expr) => {
        Some($catcher)
    };
}

/// Declares the bugs, by what each is caught, and the list of all of them.
macro_rules! planted {
    ($($(#[$doc:meta])* $bug:ident $(by $catcher:expr)?,)*) => {
        /// One bug, named after the rule that it breaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Planted {
            $($(#[$doc])* $bug,)*
        }

        impl Planted {
            /// Every one, for the tests that catch them all.
            pub const ALL: &[Self] = &[$(Self::$bug,)*];

            /// By what it is caught. `None` = nobody has said so, which a test refuses.
            pub const fn catcher(self) -> Option<Catcher> {
                match self {
                    $(Self::$bug => declared!($($catcher)?),)*
                }
            }
        }
    };
}
