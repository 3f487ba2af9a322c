//! Puts bugs into a file's text behind switches, so that one build holds many of them: `a + b` becomes
//! `(if crate::mutant(17) { a - b } else { a + b })`. Bugs may stand within one another. A constant takes no switch, nor does a
//! function that returns some `impl Trait`: their bugs do not compile this way and are left out.

use std::cmp::Reverse;
use std::ops::Range;

use anyhow::{Context, Result};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::sample::Mutant;

/// The switch itself, for the end of `lib.rs`: a process has the bug whose number its environment names.
pub(crate) const SWITCH: &str = r#"
#[doc(hidden)]
#[inline]
pub fn mutant(number: u32) -> bool {
    static PLANTED: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let read = || std::env::var("SKERRY_MUTANT").ok().and_then(|text| text.parse().ok());
    *PLANTED.get_or_init(|| read().unwrap_or(0)) == number
}
"#;

/// A text with switches, and where each bug stands in it.
#[derive(Default)]
pub(crate) struct Switched {
    pub(crate) text: String,
    places: Vec<(Range<usize>, u32)>,
}

impl Switched {
    /// Puts these bugs in, each with its number from 1.
    pub(crate) fn new(text: &str, mutants: &[(u32, &Mutant)]) -> Result<Self> {
        let file = syn::parse_file(text)?;
        let mut edits = Vec::new();
        for (number, mutant) in mutants {
            let edit = Edit::new(text, &file, *number, mutant);
            edits.push(edit.with_context(|| format!("found no place for {}", mutant.name))?);
        }
        edits.sort_by_key(|edit| (edit.range.start, !edit.range.is_empty(), Reverse(edit.range.end)));
        let mut switched = Self::default();
        switched.write(text, 0..text.len(), &edits);
        Ok(switched)
    }

    /// The innermost bug around these bytes.
    pub(crate) fn at(&self, bytes: &Range<usize>) -> Option<u32> {
        let around = self.places.iter().filter(|(place, _)| place.start <= bytes.start && bytes.end <= place.end);
        around.min_by_key(|(place, _)| place.len()).map(|(_, number)| *number)
    }

    /// The bug that stands nearest to these bytes: some errors are told at what is around a bug.
    pub(crate) fn near(&self, bytes: &Range<usize>) -> Option<u32> {
        let distance = |place: &Range<usize>| place.start.abs_diff(bytes.start).min(place.end.abs_diff(bytes.end));
        self.places.iter().min_by_key(|(place, _)| distance(place)).map(|(_, number)| *number)
    }

    /// Writes a part of the text with those edits that are wholly within it.
    fn write(&mut self, text: &str, part: Range<usize>, edits: &[Edit]) {
        let mut at = part.start;
        for (n, edit) in edits.iter().enumerate() {
            if edit.range.start < at || edit.range.end > part.end {
                continue;
            }
            self.text += &text[at..edit.range.start];
            at = edit.range.end;
            let (start, inner) = (self.text.len(), &edits[n + 1..]);
            if edit.range.is_empty() {
                self.text += &edit.replacement;
            } else {
                self.text += &format!("(if crate::mutant({}) {{ ", edit.number);
                self.write(text, edit.range.start..edit.hole.start, inner);
                self.text += &edit.replacement;
                self.write(text, edit.hole.end..edit.range.end, inner);
                self.text += " } else { ";
                self.write(text, edit.range.clone(), inner);
                self.text += " })";
            }
            self.places.push((start..self.text.len(), edit.number));
        }
        self.text += &text[at..part.end];
    }
}

/// One bug's place: what the switch is around, and the hole in it that gets the replacement. An empty range is where
/// something is only put in.
struct Edit {
    number: u32,
    range: Range<usize>,
    hole: Range<usize>,
    replacement: String,
}

impl Edit {
    fn new(text: &str, file: &syn::File, number: u32, mutant: &Mutant) -> Option<Self> {
        let span = mutant.span.bytes(text);
        let around = |hole: Range<usize>, range, replacement: &str| {
            Some(Self { number, range, hole, replacement: replacement.to_owned() })
        };
        let put_in = |at: usize, replacement| Some(Self { number, range: at..at, hole: at..at, replacement });
        match mutant.genre.as_str() {
            "FnValue" => {
                let early = format!("if crate::mutant({number}) {{ return {}; }} ", mutant.replacement);
                put_in(span.start, early)
            }
            "MatchArmGuard" => around(span.clone(), span, &mutant.replacement),
            "MatchArm" => match Search::arm(file, &span)? {
                Arm::Guarded(guard) => around(guard.clone(), guard, "false"),
                Arm::Bare(end) => put_in(end, format!(" if !crate::mutant({number})")),
            },
            _ => around(span.clone(), Search::expression(file, &span)?, &mutant.replacement),
        }
    }
}

/// A match arm: where its guard is, or where one could be.
enum Arm {
    Guarded(Range<usize>),
    Bare(usize),
}

/// Looks for the smallest expression, or the match arm, around some bytes.
struct Search<'a> {
    span: &'a Range<usize>,
    expression: Option<Range<usize>>,
    arm: Option<Arm>,
}

impl<'a> Search<'a> {
    fn new(file: &syn::File, span: &'a Range<usize>) -> Self {
        let mut search = Self { span, expression: None, arm: None };
        search.visit_file(file);
        search
    }

    fn expression(file: &syn::File, span: &'a Range<usize>) -> Option<Range<usize>> {
        Self::new(file, span).expression
    }

    fn arm(file: &syn::File, span: &'a Range<usize>) -> Option<Arm> {
        Self::new(file, span).arm
    }
}

impl<'ast> Visit<'ast> for Search<'_> {
    fn visit_expr(&mut self, expr: &'ast syn::Expr) {
        let range = expr.span().byte_range();
        // Deeper ones come later, so the last one is the smallest.
        if range.start <= self.span.start && self.span.end <= range.end {
            self.expression = Some(range);
            visit::visit_expr(self, expr);
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if arm.span().byte_range().start == self.span.start {
            let bare = Arm::Bare(arm.pat.span().byte_range().end);
            self.arm = Some(arm.guard.as_ref().map_or(bare, |(_, guard)| Arm::Guarded(guard.span().byte_range())));
        }
        visit::visit_arm(self, arm);
    }
}
