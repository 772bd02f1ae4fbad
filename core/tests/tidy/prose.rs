//! What a machine sees of plain English.

use crate::repository::{Fault, File};

/// Words of a page's sentence, which a reader takes in at once.
const WORDS_MAX: usize = 25;

/// Words of a sentence in a comment that documents something. Two hundred of them have more than a page's: less is better.
const COMMENT_WORDS_MAX: usize = 40;

/// A sentence of a page, as one line, and where it begins.
struct Sentence {
    at: usize,
    text: String,
    /// A heading may name its matter by a question's words: "What is deployed".
    is_heading: bool,
}

impl Sentence {
    fn words(&self) -> usize {
        self.text.split(' ').filter(|word| word.contains(char::is_alphanumeric)).count()
    }
}

/// Sentences that are too long, and on pages those that are too bookish.
pub fn sentences(files: &[File]) -> Vec<Fault> {
    let is_page = |path: &str| {
        ["README.md", "CONTRIBUTING.md"].contains(&path)
            || (path.starts_with("docs/") && path.ends_with(".md"))
    };
    let of_pages = files.iter().filter(|file| is_page(&file.path)).flat_map(|file| {
        sentences_of(&file.text).into_iter().flat_map(move |sentence| {
            let too_long = too_long(file, &sentence, WORDS_MAX);
            too_long.into_iter().chain(bookish(file, &sentence))
        })
    });
    // A comment is seldom a whole sentence: it may be "What a bus puts around an entry."
    let of_comments = files.iter().filter(|file| file.path.ends_with(".rs")).flat_map(|file| {
        let sentences = sentences_of(&documentation(&file.text)).into_iter();
        sentences.filter_map(move |sentence| too_long(file, &sentence, COMMENT_WORDS_MAX))
    });
    of_pages.chain(of_comments).collect()
}

/// The comments of a file of Rust that document something, where they stand, and nothing else of it.
fn documentation(code: &str) -> String {
    let kept = |line: &str| {
        let mark = line.find("///").or_else(|| line.find("//!")).filter(|at| line[..*at].trim().is_empty());
        match mark {
            Some(at) => " ".repeat(at + 3) + &line[at + 3..],
            None => " ".repeat(line.trim_end_matches('\n').len()) + "\n",
        }
    };
    code.split_inclusive('\n').map(kept).collect()
}

fn too_long(file: &File, sentence: &Sentence, max: usize) -> Option<Fault> {
    let words = sentence.words();
    let found = || format!("a sentence of {words} words, \"{}\"", beginning(&sentence.text));
    (words > max).then(|| file.fault(sentence.at, found(), format!("make it two: at most {max}")))
}

fn bookish(file: &File, sentence: &Sentence) -> Vec<Fault> {
    let Sentence { at, text, is_heading } = sentence;
    let mut faults = Vec::new();
    for bookish in [" of which ", "thereof"].iter().filter(|bookish| text.contains(**bookish)) {
        faults.push(file.fault(
            *at,
            format!("\"{}\" in \"{}\"", bookish.trim(), beginning(text)),
            "say it with a noun",
        ));
    }
    if !is_heading && (text.starts_with("What ") || text.starts_with("Who ")) && !text.contains('?') {
        faults.push(file.fault(*at, format!("\"{}\"", beginning(text)), "begin with the noun that is meant"));
    }
    faults
}

/// Enough of a sentence to find it.
fn beginning(text: &str) -> String {
    text.split(' ').take(8).collect::<Vec<_>>().join(" ") + " …"
}

/// The sentences of a page: of its paragraphs, headings, items, and cells of tables, without code blocks and comments.
fn sentences_of(page: &str) -> Vec<Sentence> {
    let mut sentences = Vec::new();
    let mut block: Option<Sentence> = None;
    let (mut in_code, mut in_comment, mut at) = (false, false, 0);
    for line in page.split_inclusive('\n') {
        let (start, text) = (at, line.trim());
        at += line.len();
        if text.starts_with("```") {
            in_code = !in_code;
        }
        in_comment |= text.starts_with("<!--");
        let is_prose = !in_code && !in_comment && !text.starts_with("```");
        in_comment &= !text.contains("-->");
        let item = ["- ", "* ", "> ", "#"].iter().any(|mark| text.starts_with(mark)) || is_numbered(text);
        if (!is_prose || text.is_empty() || text.starts_with('|') || item)
            && let Some(block) = block.take()
        {
            sentences.extend(split(block));
        }
        if !is_prose || text.is_empty() {
            continue;
        }
        if text.starts_with('|') {
            let cell = |cell: &str| Sentence { at: start, text: cell.trim().to_owned(), is_heading: false };
            sentences.extend(text.split('|').map(cell).flat_map(split));
            continue;
        }
        let text = if item { text.split_once(' ').map_or("", |(_, text)| text) } else { text };
        match &mut block {
            Some(block) => block.text += &format!(" {text}"),
            None => {
                block = Some(Sentence { at: start, text: text.to_owned(), is_heading: line.starts_with('#') })
            }
        }
        // A heading is a block by itself.
        if line.starts_with('#')
            && let Some(block) = block.take()
        {
            sentences.extend(split(block));
        }
    }
    sentences.extend(block.into_iter().flat_map(split));
    sentences
}

fn is_numbered(text: &str) -> bool {
    text.split_once(". ")
        .is_some_and(|(number, _)| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()))
}

/// A block's sentences. Code in it is one word, and a link its text.
fn split(block: Sentence) -> Vec<Sentence> {
    let text = plain(&block.text);
    let mut sentences = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    let is_end = |word: &str| {
        let word = word.trim_end_matches(['"', ')', '*', '”']);
        word.ends_with(['.', '!', '?']) && !["e.g.", "i.e.", "etc."].contains(&word.trim_start_matches('('))
    };
    for word in text.split_whitespace() {
        words.push(word);
        if is_end(word) {
            sentences.push(Sentence { text: std::mem::take(&mut words).join(" "), ..block });
        }
    }
    sentences.push(Sentence { text: words.join(" "), ..block });
    sentences.retain(|sentence| !sentence.text.is_empty());
    sentences
}

/// Without marks of Markdown: code as one word, a link as its text, nothing bold.
fn plain(text: &str) -> String {
    let code = text.split('`').enumerate();
    let without_code: String = code.map(|(at, part)| if at % 2 == 1 { "code" } else { part }).collect();
    let mut plain = String::new();
    for (at, part) in without_code.split("](").enumerate() {
        let part = if at == 0 { part } else { part.split_once(')').map_or(part, |(_, after)| after) };
        plain += part;
    }
    plain.replace(['[', ']'], "").replace("**", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(page: &str) -> Vec<(usize, String)> {
        let faults = sentences(&[File::new("docs/a.md", page)]);
        faults.into_iter().map(|fault| (fault.line, format!("{}: {}", fault.found, fault.instead))).collect()
    }

    #[test]
    fn a_long_sentence_is_found_in_text_items_and_cells() {
        let long = "word ".repeat(26);
        for page in [
            format!("One.\n\n{long}\n"),
            format!("# One\n\n- {long}\n"),
            format!("| a | b |\n| --- | --- |\n| c | {long} |\n"),
        ] {
            let found = found(&page);
            assert_eq!(found.len(), 1, "{page}");
            assert!(found[0].0 == 3 && found[0].1.contains("26 words"), "{found:?}");
        }
    }

    #[test]
    fn a_long_sentence_is_found_in_a_comment_that_documents() {
        let comment = |mark: &str, words: usize| {
            let words = format!("{mark} word\n").repeat(words);
            let file = File::new("core/src/a.rs", format!("fn a() {{}} /// {words}\n\n{words}fn b() {{}}\n"));
            sentences(&[file]).iter().map(|fault| (fault.line, fault.found.clone())).collect::<Vec<_>>()
        };
        for mark in ["///", "    //!"] {
            let found = comment(mark, 41);
            assert!(matches!(&found[..], [(44, found)] if found.contains("41 words")), "{found:?}");
            assert_eq!(comment(mark, 40), []);
        }
        assert_eq!(comment("//", 41), [], "what a comment in the code says is not looked at");
    }

    #[test]
    fn code_is_a_word_and_blocks_of_code_are_no_prose() {
        let words = "word ".repeat(24);
        assert!(
            found(&format!("{words}`a b c`\n```sh\n{words}{words}\n```\n<!-- {words}{words} -->\n"))
                .is_empty()
        );
        assert!(
            found(&format!("{words}(end). {words}[a](b.md)\n\n{words}\n- {words}\n- {words}\n")).is_empty()
        );
    }

    #[test]
    fn bookish_words_are_found() {
        assert!(found("The table, of which there is one.")[0].1.contains("of which"));
        assert!(found("A part thereof.")[0].1.contains("thereof"));
        assert!(found("One. What is sent is kept.")[0].1.contains("What is sent"));
        assert!(found("# What is sent\n\nAnd what not.").is_empty());
        assert!(found("What is sent? That which is kept.").is_empty());
    }
}
