use arrow_array::Array;
use proptest::prelude::*;

use super::*;
use crate::types::Kind;

/// A value as the server would send it, in both forms.
#[derive(Debug, Clone)]
enum Sent {
    Null,
    Number(i32),
    Text(String),
    Record(Vec<Sent>),
    Array(Vec<Sent>),
}

const NUMBER: u32 = 23;
const TEXT: u32 = 25;
const INNER: u32 = 50_000;
const INNERS: u32 = 50_001;

impl Sent {
    fn oid(kind: &Kind) -> u32 {
        match kind {
            Kind::Int32 => NUMBER,
            Kind::Struct(_) => INNER,
            Kind::List(_) => INNERS,
            _ => TEXT,
        }
    }

    fn binary(&self, kind: &Kind) -> Option<Vec<u8>> {
        let behind = |bytes: Option<Vec<u8>>| match bytes {
            None => (-1_i32).to_be_bytes().to_vec(),
            Some(bytes) => {
                [u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec(), bytes].concat()
            }
        };
        Some(match (self, kind) {
            (Self::Number(number), _) => number.to_be_bytes().to_vec(),
            (Self::Text(text), _) => text.clone().into_bytes(),
            (Self::Record(values), Kind::Struct(attributes)) => {
                let mut out = u32::try_from(values.len()).unwrap().to_be_bytes().to_vec();
                for (value, attribute) in values.iter().zip(attributes) {
                    out.extend(attribute.oid.to_be_bytes());
                    out.extend(behind(value.binary(&attribute.kind)));
                }
                out
            }
            (Self::Array(items), Kind::List(item)) => {
                let dimensions = u32::from(!items.is_empty());
                let mut out = [dimensions.to_be_bytes(), [0; 4], [0; 4]].concat();
                if dimensions > 0 {
                    out.extend(u32::try_from(items.len()).unwrap().to_be_bytes());
                    out.extend(1_u32.to_be_bytes());
                }
                items.iter().for_each(|one| out.extend(behind(one.binary(item))));
                out
            }
            _ => return None,
        })
    }

    /// As `record_out`, `array_out` and the like print it.
    fn text(&self) -> Option<String> {
        Some(match self {
            Self::Null => return None,
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
            Self::Record(values) => {
                let texts: Vec<_> =
                    values.iter().map(|value| attribute_text(value.text())).collect();
                format!("({})", texts.join(","))
            }
            Self::Array(items) => {
                let texts: Vec<_> = items.iter().map(|item| item_text(item.text())).collect();
                format!("{{{}}}", texts.join(","))
            }
        })
    }
}

fn attribute_text(text: Option<String>) -> String {
    let Some(text) = text else { return String::new() };
    let special = |c: char| matches!(c, '"' | '\\' | '(' | ')' | ',') || c.is_ascii_whitespace();
    match text.is_empty() || text.contains(special) {
        true => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\"\"")),
        false => text,
    }
}

fn item_text(text: Option<String>) -> String {
    let Some(text) = text else { return "NULL".to_owned() };
    let special = |c: char| matches!(c, '"' | '\\' | '{' | '}' | ',') || c.is_ascii_whitespace();
    match text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special) {
        true => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        false => text,
    }
}

fn structure(kinds: &[Kind]) -> Kind {
    let one = |(at, kind): (usize, &Kind)| Attribute {
        name: format!("a{at}"),
        oid: Sent::oid(kind),
        native: match kind {
            Kind::Text => "text".into(),
            Kind::List(_) => "public.inner[]: composite()[]".into(),
            _ => "something".into(),
        },
        kind: kind.clone(),
    };
    Kind::Struct(kinds.iter().enumerate().map(one).collect())
}

fn inner() -> Kind {
    structure(&[Kind::Int32, Kind::Text])
}

fn outer() -> Kind {
    structure(&[Kind::Text, inner(), Kind::List(Box::new(inner())), Kind::Int32])
}

fn maybe(value: impl Strategy<Value = Sent>) -> impl Strategy<Value = Sent> {
    prop_oneof![1 => Just(Sent::Null), 4 => value]
}

fn texts() -> impl Strategy<Value = Sent> + Clone {
    "[a,\"\\\\(){} \nNULé]{0,8}".prop_map(Sent::Text)
}

fn inners() -> impl Strategy<Value = Sent> {
    (maybe(any::<i32>().prop_map(Sent::Number)), maybe(texts()))
        .prop_map(|(number, text)| Sent::Record(vec![number, text]))
}

fn outers() -> impl Strategy<Value = Sent> {
    let list = proptest::collection::vec(maybe(inners()), 0..4).prop_map(Sent::Array);
    let number = any::<i32>().prop_map(Sent::Number);
    (maybe(texts()), maybe(inners()), maybe(list), maybe(number))
        .prop_map(|(a, b, c, d)| Sent::Record(vec![a, b, c, d]))
}

fn builder(kind: &Kind) -> ColumnBuilder {
    ColumnBuilder::new(kind, Unrepresentable::Fail)
}

proptest! {
    #[test]
    fn both_forms_are_the_same_struct(values in proptest::collection::vec(maybe(outers()), 1..6)) {
        let kind = outer();
        let (mut binary, mut text) = (builder(&kind), builder(&kind));
        for value in &values {
            match value.text() {
                None => {
                    binary.append_null();
                    text.append_null();
                }
                Some(printed) => {
                    binary.append_binary(&value.binary(&kind).unwrap()).unwrap();
                    text.append_text(printed.as_bytes()).unwrap();
                }
            }
        }
        let (binary, text) = (binary.finish(), text.finish());
        prop_assert_eq!(&binary, &text);
        prop_assert_eq!(binary.len(), values.len());
        prop_assert_eq!(binary.data_type(), &kind.data_type());
        prop_assert!(binary.to_data().validate_full().is_ok());
    }

    /// Any bytes, whole values cut off anywhere, and values with a byte changed.
    #[test]
    fn nothing_panics(
        value in outers(), cut in any::<prop::sample::Index>(), with in any::<u8>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let kind = outer();
        for whole in [value.binary(&kind).unwrap(), value.text().unwrap().into_bytes()] {
            let at = cut.index(whole.len());
            let mut changed = whole.clone();
            changed[at] = with;
            for bytes in [&whole[..at], &changed, &bytes] {
                for read in [ColumnBuilder::append_binary, ColumnBuilder::append_text] {
                    let mut column = builder(&kind);
                    column.append_null();
                    let rows = 1 + usize::from(read(&mut column, bytes).is_ok());
                    prop_assert_eq!(column.finish().len(), rows);
                }
            }
        }
    }
}

#[test]
fn null_and_the_empty_string_are_two_things() {
    let mut column = builder(&inner());
    for text in ["(,)", "(1,\"\")", "(1,\"a \"\"b\"\" \\\\ (c), d\")", "(-1,x)"] {
        column.append_text(text.as_bytes()).unwrap();
    }
    let array = column.finish();
    let texts = array.as_any().downcast_ref::<StructArray>().unwrap().column(1);
    let texts: Vec<_> =
        texts.as_any().downcast_ref::<arrow_array::StringArray>().unwrap().iter().collect();
    assert_eq!(texts, [None, Some(""), Some("a \"b\" \\ (c), d"), Some("x")]);
    assert_eq!(array.null_count(), 0, "a struct of NULLs is not NULL");
}

#[test]
fn another_shape_is_told_from_broken_bytes() {
    let read = |text: &str| builder(&inner()).append_text(text.as_bytes());
    for altered in ["(1)", "()", "(1,x,)", "(1,x,y)", "(x,1)", "(1,\"x\",\"y\")"] {
        assert_eq!(read(altered), Err(ALTERED), "{altered}");
    }
    for broken in ["", "(", "1,x", "(1,x", "(1,\"x)", "(1,\"x\"y)"] {
        assert!(matches!(read(broken), Err(ValueError::Malformed(_))), "{broken}");
    }
    let read =
        |value: &Sent, kind: &Kind| builder(&inner()).append_binary(&value.binary(kind).unwrap());
    let two = Sent::Record(vec![Sent::Number(1), Sent::Number(2)]);
    assert_eq!(read(&two, &inner()), Ok(()), "the types are what is looked at");
    assert_eq!(read(&two, &structure(&[Kind::Int32, Kind::Int32])), Err(ALTERED));
    let one = Sent::Record(vec![Sent::Number(1)]);
    assert_eq!(read(&one, &structure(&[Kind::Int32])), Err(ALTERED));
    // Deep inside as well.
    let deep = Sent::Record(vec![Sent::Null, Sent::Null, Sent::Array(vec![one]), Sent::Null]);
    let altered = structure(&[
        Kind::Text,
        inner(),
        Kind::List(Box::new(structure(&[Kind::Int32]))),
        Kind::Int32,
    ]);
    assert_eq!(builder(&outer()).append_binary(&deep.binary(&altered).unwrap()), Err(ALTERED));
    assert_eq!(builder(&outer()).append_text(deep.text().unwrap().as_bytes()), Err(ALTERED));
}

#[test]
fn what_came_before_a_refused_value_is_kept() {
    let kind = Kind::List(Box::new(inner()));
    let mut column = builder(&kind);
    column.append_text(b"{\"(1,x)\",\"(2,y)\"}").unwrap();
    assert_eq!(column.append_text(b"{\"(3,z)\",\"(4)\"}"), Err(ALTERED));
    assert_eq!(column.finish().len(), 1);
    column.append_text(b"{\"(5,v)\"}").unwrap();
    let array = column.finish();
    assert_eq!(array.len(), 1);
    assert!(array.to_data().validate_full().is_ok());
}
