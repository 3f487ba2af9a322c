//! Progress of something long, on stderr: a live line on a terminal, else a plain line now and then.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{Output, Paint};
use crate::view::size;

/// Time between two plain lines of progress.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
const FRAME: Duration = Duration::from_millis(120);

/// Shows the progress of something that takes time.
pub(crate) struct Progress {
    output: Output,
    title: String,
    begun: Instant,
    bar: Option<ProgressBar>,
    total: Option<u64>,
    told: String,
    told_at: Instant,
}

impl Progress {
    /// Of known length in pieces such as rows.
    pub(crate) fn counted(output: &Output, title: &str, total: Option<u64>) -> Self {
        let template = match total {
            Some(_) => "  {spinner} {prefix}  [{bar:30}] {human_pos}/{human_len}  {per_sec}  {eta} left {msg}",
            None => "  {spinner} {prefix}  {human_pos}  {per_sec} {msg}",
        };
        Self::new(output, title, total, template)
    }

    /// Of unknown length, told in words.
    pub(crate) fn told(output: &Output, title: &str) -> Self {
        Self::new(output, title, None, "  {spinner} {prefix}  {elapsed}  {msg}")
    }

    fn new(output: &Output, title: &str, total: Option<u64>, template: &str) -> Self {
        let now = Instant::now();
        let bar = output.animates().then(|| {
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            // The templates are constants; one that indicatif does not take is shown as its default style.
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("█▌ "));
            }
            bar.set_prefix(title.to_owned());
            bar.enable_steady_tick(FRAME);
            bar
        });
        if bar.is_none() {
            output.say(&format!("  … {title}"));
        }
        Self {
            output: output.clone(),
            title: title.to_owned(),
            begun: now,
            bar,
            total,
            told: String::new(),
            told_at: now,
        }
    }

    /// Sets how many pieces are done.
    pub(crate) fn at(&mut self, position: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(position),
            None => {
                let rate = (position as f64 / self.begun.elapsed().as_secs_f64().max(0.001)).round();
                let of = self.total.map(|t| format!(" of {}", size::count(t))).unwrap_or_default();
                self.tell(&format!("{}{of}, {rate:.0}/s", size::count(position)));
            }
        }
    }

    /// Shows a text beside the progress.
    pub(crate) fn tell(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None if text != self.told && self.told_at.elapsed() >= PLAIN_EVERY => {
                self.output.say(&format!("    {}: {text}", self.title));
                text.clone_into(&mut self.told);
                self.told_at = Instant::now();
            }
            None => {}
        }
    }

    /// Says something that stays above the live line.
    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.say(text)),
            None => self.output.say(text),
        }
    }

    /// Ends the progress with a mark of success and this text.
    pub(crate) fn done(self, text: &str) {
        let mark = self.output.paint_message(Paint::Good, "✓");
        self.end(&format!("  {mark} {}  {text}", self.title));
    }

    /// Ends the live line with a cross and this text: the task failed.
    pub(crate) fn failed(self, text: &str) {
        let mark = self.output.paint_message(Paint::Bad, "✗");
        self.end(&format!("  {mark} {}  {text}", self.title));
    }

    fn end(&self, line: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.output.say(line);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
