//! The screen of a terminal, drawn anew again and again.

use crate::print::text;
use rustix::termios::tcgetwinsize;
use std::fmt::Write as _;

/// Rows and columns of a terminal that does not tell them (those of the VT100).
const USUAL: (usize, usize) = (24, 80);

/// Rows and columns of the terminal at standard output.
pub fn size() -> (usize, usize) {
    let told = tcgetwinsize(std::io::stdout()).ok();
    let told = told.map(|size| (usize::from(size.ws_row), usize::from(size.ws_col)));
    told.filter(|(rows, columns)| *rows > 0 && *columns > 0).unwrap_or(USUAL)
}

/// Draws over what stood there: `upper` whole, and of `lower` the last lines that there is room for, a row each.
pub fn draw(upper: &[String], lower: &[String]) {
    text(frame(upper, lower, size()));
}

fn frame(upper: &[String], lower: &[String], (rows, columns): (usize, usize)) -> String {
    // The last row stays empty: a line's end there would push the first one out. So does one between the two.
    let taken: usize = upper.iter().map(|line| rows_of(line, columns)).sum();
    let room = rows.saturating_sub(taken + 2).min(lower.len());
    let mut frame = "\u{1b}[H\u{1b}[J".to_owned();
    for line in upper {
        // Writing to a String can't fail.
        let _ = writeln!(frame, "{line}");
    }
    if room > 0 {
        // A line that is too long is cut by the terminal, which knows how wide each character is.
        let _ = writeln!(frame, "\n\u{1b}[?7l{}\u{1b}[?7h", lower[lower.len() - room..].join("\n"));
    }
    frame
}

/// Rows that a line takes at most: a character that is not of ASCII may be two columns wide.
fn rows_of(line: &str, columns: usize) -> usize {
    let (mut width, mut is_code) = (0_usize, false);
    for character in line.chars() {
        match character {
            '\u{1b}' => is_code = true,
            _ if is_code => is_code = character != 'm',
            _ => width += if character.is_ascii() { 1 } else { 2 },
        }
    }
    width.div_ceil(columns).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_never_higher_than_its_terminal_unless_what_is_above_is() {
        let lines =
            |from: &str, count: usize| (1..=count).map(|at| format!("{from}{at}")).collect::<Vec<_>>();
        let shown = |upper: &[String], rows: usize| {
            let frame = frame(upper, &lines("w", 9), (rows, 10));
            let frame =
                frame.replace("\u{1b}[H\u{1b}[J", "").replace("\u{1b}[?7l", "").replace("\u{1b}[?7h", "");
            frame.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(shown(&lines("s", 3), 7), ["s1", "s2", "s3", "", "w8", "w9"]);
        assert_eq!(shown(&lines("s", 3), 40).len(), 3 + 1 + 9);
        for rows in 0..6 {
            assert_eq!(shown(&lines("s", 3), rows), ["s1", "s2", "s3"]);
        }
        // A long line takes several rows, colours take none, and a wide character two columns.
        let upper =
            ["\u{1b}[31m0123456789\u{1b}[0m".to_owned(), "0123456789a".to_owned(), "\u{6f22}".repeat(6)];
        assert_eq!(shown(&upper, 9).last().unwrap(), "w9");
        assert_eq!(shown(&upper, 9).len(), 3 + 1 + 2);
    }
}
