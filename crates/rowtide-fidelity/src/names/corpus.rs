//! The corpus, read from its file.

/// How many bytes of a name PostgreSQL keeps.
const KEPT: usize = 63;

/// All names, as they are written in SQL: some are longer than PostgreSQL keeps.
#[must_use]
pub fn corpus() -> Vec<String> {
    let lines = include_str!("corpus.txt").lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with("# ")).map(unescaped).collect()
}

/// What PostgreSQL keeps of `name`: as many whole characters as fit.
#[must_use]
pub fn kept(name: &str) -> &str {
    let mut end = name.len().min(KEPT);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

fn unescaped(line: &str) -> String {
    let mut name = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            name.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => name.push('\n'),
            Some('t') => name.push('\t'),
            Some('r') => name.push('\r'),
            Some('u') => {
                let digits = chars.by_ref().skip(1).take_while(|c| *c != '}').collect::<String>();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                name.extend(code);
            }
            other => name.extend(other),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_corpus_is_large_and_every_name_in_it_is_another() {
        let names = corpus();
        let different: BTreeSet<&str> = names.iter().map(|name| kept(name)).collect();
        assert_eq!(different.len(), names.len());
        assert!(names.len() >= 500, "{}", names.len());
        assert!(names.iter().all(|name| !name.is_empty() && !name.contains('\0')));
        assert!(names.iter().any(|name| name.len() == KEPT));
        assert!(names.iter().any(|name| name.len() > KEPT));
    }

    #[test]
    fn escapes_stand_for_characters() {
        assert_eq!(unescaped("a\\nb\\u{1F600}\\\\"), "a\nb\u{1F600}\\");
        assert_eq!(kept("日".repeat(22).as_str()).len(), 63);
        assert_eq!(kept(&("o".repeat(61) + "😀")).len(), 61);
    }
}
