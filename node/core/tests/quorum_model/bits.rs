//! Small numbers in one word.

/// Numbers one after the other, from the lowest bits on.
pub(crate) struct Bits {
    word: u64,
    used: u32,
}

impl Bits {
    pub(crate) fn of(word: u64) -> Self {
        Self { word, used: 0 }
    }

    pub(crate) fn word(&self) -> u64 {
        self.word
    }

    pub(crate) fn put(&mut self, value: impl Into<u64>, width: u32) {
        let value = value.into();
        assert!(value < 1 << width && self.used + width <= 64, "{value} in {width} bits after {}", self.used);
        self.word |= value << self.used;
        self.used += width;
    }

    pub(crate) fn byte(&mut self, width: u32) -> u8 {
        let value = self.word & ((1 << width) - 1);
        self.word >>= width;
        u8::try_from(value).unwrap()
    }

    pub(crate) fn is(&mut self) -> bool {
        self.byte(1) == 1
    }
}
