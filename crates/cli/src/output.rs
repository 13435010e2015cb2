//! Colors, results on standard output, and everything else on standard error.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
};

use anstream::adapter::strip_str;
use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

use crate::error::Error;

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
pub(crate) const INFO: Style = AnsiColor::Cyan.on_default();
pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();

/// The most columns of a line of sentences.
const WIDTH: usize = 80;

/// Displays `text` in a color. `anstream` removes colors where they do not belong.
pub(crate) fn paint(style: Style, text: impl fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Writes a line of the result to standard output.
pub(crate) fn line(text: impl fmt::Display) -> Result<(), Error> {
    let mut stdout = anstream::stdout().lock();
    writeln!(stdout, "{text}")?;
    // The reader of a pipe gets each line at once.
    Ok(stdout.flush()?)
}

/// Writes sentences to standard output, in lines that fit a terminal.
pub(crate) fn paragraph(text: impl fmt::Display) -> Result<(), Error> {
    let text = text.to_string();
    if io::stdout().is_terminal() {
        return line(wrapped(&text, columns()));
    }
    line(text)
}

/// Writes a remark to standard error, in lines that fit a terminal.
pub(crate) fn note(text: impl fmt::Display) {
    let text = text.to_string();
    if io::stderr().is_terminal() {
        return note_as_is(wrapped(&text, columns()));
    }
    note_as_is(text);
}

/// Writes a line to standard error that can be copied.
pub(crate) fn note_as_is(text: impl fmt::Display) {
    // An error here cannot be reported anywhere.
    let _ = writeln!(anstream::stderr(), "{text}");
}

fn columns() -> usize {
    terminal_size::terminal_size().map_or(WIDTH, |(width, _)| WIDTH.min(width.0.into()))
}

/// Breaks long lines between words. Commands in backticks stay in one line, to be copied.
fn wrapped(text: &str, columns: usize) -> String {
    let mut lines = Vec::new();
    for text in text.split('\n') {
        let mut line = String::new();
        let mut is_in_backticks = false;
        let mut word_start = 0;
        // The end of the text ends a word, too.
        for (index, character) in text.char_indices().chain([(text.len(), ' ')]) {
            is_in_backticks ^= character == '`';
            if character != ' ' || (is_in_backticks && index < text.len()) {
                continue;
            }
            let word = &text[word_start..index];
            word_start = index + 1;
            if !line.trim().is_empty() && width(&line) + 1 + width(word) > columns {
                lines.push(std::mem::take(&mut line));
            } else if index > word.len() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// Returns the columns that a text takes. Colors take none.
fn width(text: &str) -> usize {
    strip_str(text).map(UnicodeWidthStr::width).sum()
}

pub(crate) fn warning(text: impl fmt::Display) {
    note(format_args!("{} {text}", paint(WARNING.bold(), "warning:")));
}

pub(crate) fn error(error: &Error) {
    note(format_args!("{} {error}", paint(BAD.bold(), "error:")));
}

/// Asks a question on standard error and reads the answer, which is `None` at the end of input.
pub(crate) fn ask(question: &str) -> Result<Option<String>, Error> {
    let mut stderr = anstream::stderr();
    let _ = write!(stderr, "{question} ");
    let _ = stderr.flush();
    let mut answer = String::new();
    let length = (io::stdin().read_line(&mut answer))
        .map_err(|error| Error::failed(format!("cannot read the answer: {error}")))?;
    Ok((length > 0).then(|| answer.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_between_words_and_commands_are_not() {
        let words = "word ".repeat(20);
        let text = format!("  a\n\n{words}`a command that is not broken`. end");
        let lines = wrapped(&text, 80);
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(lines[..2], ["  a", ""]);
        assert_eq!(lines[2], &words[..79]);
        assert_eq!(
            lines[3],
            format!("{}`a command that is not broken`. end", &words[80..])
        );
        assert_eq!(wrapped("short", 80), "short");
        let colored = paint(BAD.bold(), "error:") + " the rest";
        assert_eq!(wrapped(&colored, 15), colored);
    }
}
