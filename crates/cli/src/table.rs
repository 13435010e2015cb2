//! Tables on standard output.

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, TableStyle,
    Width,
};

use crate::{error::Error, escape::escape, output};

/// How a cell looks.
#[derive(Clone, Copy)]
pub(crate) enum Look {
    Plain,
    Good,
    Warning,
    Bad,
}

/// Returns a cell of untrusted text.
#[expect(
    clippy::needless_pass_by_value,
    reason = "numbers and strings are made in place"
)]
pub(crate) fn cell(look: Look, text: impl ToString) -> Cell {
    let cell = Cell::new(escape(&text.to_string()));
    match look {
        Look::Plain => cell,
        Look::Good => cell.fg(Color::DarkGreen),
        Look::Warning => cell.fg(Color::DarkYellow),
        Look::Bad => cell.fg(Color::DarkRed),
    }
}

pub(crate) fn plain(text: impl ToString) -> Cell {
    cell(Look::Plain, text)
}

/// A cell with an entry per line.
pub(crate) fn lines<'a>(entries: impl IntoIterator<Item = &'a String>) -> Cell {
    let entries: Vec<_> = entries.into_iter().map(|entry| escape(entry)).collect();
    Cell::new(entries.join("\n"))
}

pub(crate) fn number(look: Look, number: impl ToString) -> Cell {
    cell(look, number).set_alignment(CellAlignment::Right)
}

/// Returns an empty table. Columns whose name ends in `…` are wrapped where the terminal is too
/// narrow, and no others.
pub(crate) fn with_header(names: &[&str]) -> Table {
    let mut table = new();
    table.set_header(names.iter().map(|name| {
        let name = name.trim_end_matches('…');
        Cell::new(name).add_attribute(Attribute::Bold)
    }));
    for (column, name) in table.column_iter_mut().zip(names) {
        column.set_constraint(match name.ends_with('…') {
            // A narrower one is harder to read than a line that is too long for the terminal.
            true => ColumnConstraint::LowerBoundary(Width::Fixed(16)),
            false => ColumnConstraint::ContentWidth,
        });
    }
    table
}

/// Returns a table of names and values.
pub(crate) fn of_fields<'a>(fields: impl IntoIterator<Item = (&'a str, Cell)>) -> Table {
    let mut table = new();
    for (name, value) in fields {
        table.add_row([Cell::new(name).add_attribute(Attribute::Dim), value]);
    }
    if let Some(column) = table.column_mut(0) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    table
}

fn new() -> Table {
    let mut table = Table::new();
    table
        .load_style(TableStyle::new())
        // `anstream` removes the styles where they do not belong.
        .enforce_styling()
        .set_content_arrangement(ContentArrangement::Dynamic);
    table
}

pub(crate) fn print(table: &mut Table) -> Result<(), Error> {
    table.style_text_only();
    let last = table.column_count().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index == last { 0 } else { 2 }));
    }
    for line in table.lines() {
        output::line(line.trim_end())?;
    }
    Ok(())
}
