//! Damage to rows under keys that are easily taken for others, and to rows without a key that are
//! marked as deleted.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::damage::Damage;
use super::fresh;

/// Texts that some collation, or some way of writing them down, takes for one another.
const WORDS: [&str; 24] = [
    "a", "A", "a ", " a", "á", "Á", "ab", "aB", "Ab", "a b", "a,b", "(a,b)", "", " ", "NULL",
    "null", "ß", "ss", "SS", "\"a\"", "a\\", "a\\\\", "-1", "a\tb",
];

pub(super) fn schema() -> String {
    let words: Vec<String> = WORDS.iter().map(|word| format!("(E{})", quoted(word))).collect();
    let words = words.join(", ").replace('\\', "\\\\");
    format!(
        "CREATE TABLE word (k text PRIMARY KEY, v text);
         CREATE TABLE pair (b int, v text, a text, PRIMARY KEY (a, b));
         CREATE TABLE events (b int, v text, a text, PRIMARY KEY (a, b));
         CREATE TABLE faint (x int, y text);
         ALTER TABLE faint REPLICA IDENTITY FULL;
         INSERT INTO word SELECT k, 'v ' || k FROM (VALUES {words}) AS w (k);
         INSERT INTO pair SELECT i, 'v ' || i, k FROM (VALUES {words}) AS w (k),
             generate_series(1, 20) i;
         INSERT INTO events SELECT * FROM pair;
         INSERT INTO faint SELECT i % 200, NULLIF('y' || i % 200, 'y7') FROM generate_series(0, 599) i"
    )
}

/// What the log brings before anything is damaged: rows from 100 on are marked as deleted.
pub(super) const LATER: &str = "\
    DELETE FROM faint WHERE x >= 100;\n\
    UPDATE events SET v = v || ' later' WHERE b > 10";

/// What is done to rows that are not damaged.
pub(super) fn traffic(from: u32) -> String {
    let keyed = |table: &str| {
        format!(
            "INSERT INTO {table} (a, b, v) SELECT DISTINCT 'busy', {from} + (random() * 50)::int, 'new' \
             FROM generate_series(1, 5) ON CONFLICT (a, b) DO UPDATE SET v = 'again' || random();\n\
             UPDATE {table} SET a = 'moved' WHERE a = 'busy' AND b = {from} + (random() * 50)::int AND \
             NOT EXISTS (SELECT FROM {table} AS o WHERE o.a = 'moved' AND o.b = {table}.b);\n\
             DELETE FROM {table} WHERE a = 'moved' AND b >= {from} AND b < {from} + 60;\n"
        )
    };
    format!(
        "{}{}INSERT INTO faint SELECT {from} + i, 'new' FROM generate_series(1, 3) i;\n\
         DELETE FROM faint WHERE x = {from} + 2",
        keyed("pair"),
        keyed("events")
    )
}

/// Damage to rows that `random` chooses.
pub(super) fn plant(random: &mut StdRng) -> Vec<Damage> {
    let mut words = WORDS;
    words.shuffle(random);
    let mut planted = words_damaged(&words);
    planted.extend(pairs(&words, random));
    planted.extend(events(&words, random));
    planted.extend(faint(random));
    planted
}

/// A key that is missing, one of a changed row, and one that has become another text.
fn words_damaged([gone, changed, moved, ..]: &[&str; 24]) -> Vec<Damage> {
    let damage = |rows: Vec<String>, sql: String| Damage { table: "word", rows, sql };
    vec![
        damage(
            vec![format!("{gone} missing")],
            format!("DELETE FROM public.word WHERE k = {}", quoted(gone)),
        ),
        damage(
            vec![format!("{changed} changed v")],
            format!("UPDATE public.word SET v = v || ' ' WHERE k = {}", quoted(changed)),
        ),
        damage(
            vec![format!("{moved} missing"), format!("{moved}  . extra")],
            format!("UPDATE public.word SET k = k || '  .' WHERE k = {}", quoted(moved)),
        ),
    ]
}

/// Rows under two columns: one missing, one too many, one changed, and two that have changed places.
fn pairs(words: &[&str; 24], random: &mut StdRng) -> Vec<Damage> {
    let mut taken = BTreeSet::new();
    let mut key = |word: &str| (word.to_owned(), fresh(random, &mut taken, 20));
    let damage = |rows: Vec<String>, sql: String| Damage { table: "pair", rows, sql };
    let (gone, changed, one) = (key(words[0]), key(words[1]), key(words[2]));
    let other = (words[3].to_owned(), one.1);
    vec![
        damage(
            vec![format!("{} missing", shown(&gone))],
            format!("DELETE FROM public.pair WHERE {}", at(&gone)),
        ),
        damage(
            vec![format!("{} changed v", shown(&changed))],
            format!("UPDATE public.pair SET v = '' WHERE {}", at(&changed)),
        ),
        damage(
            vec![format!("{}|999 extra", gone.0)],
            format!("INSERT INTO public.pair (a, b, v) VALUES ({}, 999, NULL)", quoted(&gone.0)),
        ),
        // The values alone would be the same.
        damage(
            vec![format!("{} missing", shown(&one)), format!("{} changed v", shown(&other))],
            format!(
                "UPDATE public.pair SET v = v || ' of another' WHERE {}; \
                 DELETE FROM public.pair WHERE {}",
                at(&other),
                at(&one)
            ),
        ),
    ]
}

/// Events under two columns that stand twice, or tell of a row otherwise.
fn events(words: &[&str; 24], random: &mut StdRng) -> Vec<Damage> {
    let mut taken = BTreeSet::new();
    let mut key = |word: &str| (word.to_owned(), fresh(random, &mut taken, 20));
    let damage = |row: String, sql: String| Damage { table: "events", rows: vec![row], sql };
    let (twice, changed) = (key(words[4]), key(words[5]));
    vec![
        damage(
            format!("{} repeated", shown(&twice)),
            format!(
                "INSERT INTO public.events SELECT * FROM public.events WHERE {} \
                 AND _rowtide_op = 'snapshot'",
                at(&twice)
            ),
        ),
        damage(
            format!("{} changed v", shown(&changed)),
            format!("UPDATE public.events SET v = NULL WHERE {}", at(&changed)),
        ),
    ]
}

/// Rows without a key: marked though they stand at the source, not marked though they do not, gone
/// though another like them stands.
fn faint(random: &mut StdRng) -> Vec<Damage> {
    let mut taken = BTreeSet::new();
    let mut key = || fresh(random, &mut taken, 100);
    let (marked, gone, more, unmarked) = (key(), key(), key(), 100 + key());
    let damage = |row: String, sql: String| Damage { table: "faint", rows: vec![row], sql };
    vec![
        damage(
            format!("{marked} missing_or_marked"),
            format!("UPDATE public.faint SET _rowtide_deleted = true WHERE x = {marked}"),
        ),
        damage(
            format!("{gone} missing_or_marked"),
            format!("DELETE FROM public.faint WHERE x = {gone}"),
        ),
        damage(
            format!("{more} repeated"),
            format!("INSERT INTO public.faint SELECT * FROM public.faint WHERE x = {more}"),
        ),
        damage(
            format!("{unmarked} extra"),
            format!("UPDATE public.faint SET _rowtide_deleted = false WHERE x = {unmarked}"),
        ),
    ]
}

fn shown((a, b): &(String, u64)) -> String {
    format!("{a}|{b}")
}

fn at((a, b): &(String, u64)) -> String {
    format!("a = {} AND b = {b}", quoted(a))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
