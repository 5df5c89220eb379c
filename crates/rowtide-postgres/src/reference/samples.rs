//! The types that the reference tells of.

use super::MADE;

/// What sort of type it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    BuiltIn,
    Range,
    Multirange,
    Enum,
    Domain,
    Composite,
    Extension,
}

impl Shape {
    /// Whether the type's values are texts, so that their text is what they are.
    pub(super) fn is_textual(self, name: &str) -> bool {
        let bare = name.split('(').next().unwrap_or_default();
        match self {
            Self::Enum => true,
            Self::Extension => bare == "citext",
            _ => matches!(bare, "text" | "character varying" | "character" | "bpchar" | "name"),
        }
    }
}

/// A type with a modifier.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) modifier: i32,
    pub(super) shape: Shape,
    oid: u32,
}

impl Sample {
    const fn of(shape: Shape, (oid, modifier): (u32, i32), name: &'static str) -> Self {
        Self { name, modifier, shape, oid }
    }

    /// The oid under which it stands in a map of its own.
    pub(super) fn oid_here(&self) -> u32 {
        self.oid
    }

    /// Whether a type without its modifier, labels, checks or comparisons holds more.
    pub(super) fn is_limited(&self) -> bool {
        let sort = matches!(self.shape, Shape::Enum | Shape::Domain)
            || matches!(self.name, "name" | "citext" | "bpchar");
        // A DECIMAL has the same digits.
        sort || (self.modifier != -1 && self.oid != 1700)
    }
}

/// All of them, in the reference's order.
pub(super) const SAMPLES: &[Sample] = &[
    Sample::of(Shape::BuiltIn, (16, -1), "boolean"),
    Sample::of(Shape::BuiltIn, (21, -1), "smallint"),
    Sample::of(Shape::BuiltIn, (23, -1), "integer"),
    Sample::of(Shape::BuiltIn, (20, -1), "bigint"),
    Sample::of(Shape::BuiltIn, (700, -1), "real"),
    Sample::of(Shape::BuiltIn, (701, -1), "double precision"),
    Sample::of(Shape::BuiltIn, (1700, -1), "numeric"),
    Sample::of(Shape::BuiltIn, (1700, 655_366), "numeric(10,2)"),
    Sample::of(Shape::BuiltIn, (1700, 2_490_382), "numeric(38,10)"),
    Sample::of(Shape::BuiltIn, (1700, 3_276_809), "numeric(50,5)"),
    Sample::of(Shape::BuiltIn, (1700, 329_730), "numeric(5,-2)"),
    Sample::of(Shape::BuiltIn, (1700, 196_617), "numeric(3,5)"),
    Sample::of(Shape::BuiltIn, (790, -1), "money"),
    Sample::of(Shape::BuiltIn, (25, -1), "text"),
    Sample::of(Shape::BuiltIn, (1043, -1), "character varying"),
    Sample::of(Shape::BuiltIn, (1043, 24), "character varying(20)"),
    Sample::of(Shape::BuiltIn, (1042, 9), "character(5)"),
    Sample::of(Shape::BuiltIn, (1042, -1), "bpchar"),
    Sample::of(Shape::BuiltIn, (19, -1), "name"),
    Sample::of(Shape::BuiltIn, (18, -1), "\"char\""),
    Sample::of(Shape::BuiltIn, (17, -1), "bytea"),
    Sample::of(Shape::BuiltIn, (1560, 8), "bit(8)"),
    Sample::of(Shape::BuiltIn, (1562, -1), "bit varying"),
    Sample::of(Shape::BuiltIn, (1562, 20), "bit varying(20)"),
    Sample::of(Shape::BuiltIn, (1082, -1), "date"),
    Sample::of(Shape::BuiltIn, (1083, -1), "time without time zone"),
    Sample::of(Shape::BuiltIn, (1083, 3), "time(3) without time zone"),
    Sample::of(Shape::BuiltIn, (1266, -1), "time with time zone"),
    Sample::of(Shape::BuiltIn, (1114, -1), "timestamp without time zone"),
    Sample::of(Shape::BuiltIn, (1114, 3), "timestamp(3) without time zone"),
    Sample::of(Shape::BuiltIn, (1184, -1), "timestamp with time zone"),
    Sample::of(Shape::BuiltIn, (1184, 3), "timestamp(3) with time zone"),
    Sample::of(Shape::BuiltIn, (1186, -1), "interval"),
    Sample::of(Shape::BuiltIn, (2950, -1), "uuid"),
    Sample::of(Shape::BuiltIn, (114, -1), "json"),
    Sample::of(Shape::BuiltIn, (3802, -1), "jsonb"),
    Sample::of(Shape::BuiltIn, (4072, -1), "jsonpath"),
    Sample::of(Shape::BuiltIn, (142, -1), "xml"),
    Sample::of(Shape::BuiltIn, (869, -1), "inet"),
    Sample::of(Shape::BuiltIn, (650, -1), "cidr"),
    Sample::of(Shape::BuiltIn, (829, -1), "macaddr"),
    Sample::of(Shape::BuiltIn, (774, -1), "macaddr8"),
    Sample::of(Shape::BuiltIn, (600, -1), "point"),
    Sample::of(Shape::BuiltIn, (601, -1), "lseg"),
    Sample::of(Shape::BuiltIn, (602, -1), "path"),
    Sample::of(Shape::BuiltIn, (603, -1), "box"),
    Sample::of(Shape::BuiltIn, (604, -1), "polygon"),
    Sample::of(Shape::BuiltIn, (628, -1), "line"),
    Sample::of(Shape::BuiltIn, (718, -1), "circle"),
    Sample::of(Shape::BuiltIn, (3614, -1), "tsvector"),
    Sample::of(Shape::BuiltIn, (3615, -1), "tsquery"),
    Sample::of(Shape::Range, (3904, -1), "int4range"),
    Sample::of(Shape::Range, (3926, -1), "int8range"),
    Sample::of(Shape::Range, (3906, -1), "numrange"),
    Sample::of(Shape::Range, (3908, -1), "tsrange"),
    Sample::of(Shape::Range, (3910, -1), "tstzrange"),
    Sample::of(Shape::Range, (3912, -1), "daterange"),
    Sample::of(Shape::Multirange, (4451, -1), "int4multirange"),
    Sample::of(Shape::Multirange, (4536, -1), "int8multirange"),
    Sample::of(Shape::Multirange, (4532, -1), "nummultirange"),
    Sample::of(Shape::Multirange, (4533, -1), "tsmultirange"),
    Sample::of(Shape::Multirange, (4534, -1), "tstzmultirange"),
    Sample::of(Shape::Multirange, (4535, -1), "datemultirange"),
    Sample::of(Shape::BuiltIn, (26, -1), "oid"),
    Sample::of(Shape::BuiltIn, (28, -1), "xid"),
    Sample::of(Shape::BuiltIn, (29, -1), "cid"),
    Sample::of(Shape::BuiltIn, (5069, -1), "xid8"),
    Sample::of(Shape::BuiltIn, (27, -1), "tid"),
    Sample::of(Shape::BuiltIn, (3220, -1), "pg_lsn"),
    Sample::of(Shape::BuiltIn, (5038, -1), "pg_snapshot"),
    Sample::of(Shape::BuiltIn, (2970, -1), "txid_snapshot"),
    Sample::of(Shape::BuiltIn, (22, -1), "int2vector"),
    Sample::of(Shape::BuiltIn, (30, -1), "oidvector"),
    Sample::of(Shape::BuiltIn, (1790, -1), "refcursor"),
    Sample::of(Shape::BuiltIn, (1033, -1), "aclitem"),
    Sample::of(Shape::BuiltIn, (24, -1), "regproc"),
    Sample::of(Shape::BuiltIn, (2202, -1), "regprocedure"),
    Sample::of(Shape::BuiltIn, (2203, -1), "regoper"),
    Sample::of(Shape::BuiltIn, (2204, -1), "regoperator"),
    Sample::of(Shape::BuiltIn, (2205, -1), "regclass"),
    Sample::of(Shape::BuiltIn, (2206, -1), "regtype"),
    Sample::of(Shape::BuiltIn, (4096, -1), "regrole"),
    Sample::of(Shape::BuiltIn, (4089, -1), "regnamespace"),
    Sample::of(Shape::BuiltIn, (3734, -1), "regconfig"),
    Sample::of(Shape::BuiltIn, (3769, -1), "regdictionary"),
    Sample::of(Shape::BuiltIn, (4191, -1), "regcollation"),
    Sample::of(Shape::Enum, (MADE, -1), "an enum"),
    Sample::of(Shape::Domain, (MADE, -1), "a domain over integer"),
    Sample::of(Shape::Composite, (MADE, -1), "a composite type"),
    Sample::of(Shape::Extension, (MADE, -1), "citext"),
    Sample::of(Shape::Extension, (MADE, -1), "hstore"),
    Sample::of(Shape::Extension, (MADE, -1), "ltree"),
    Sample::of(Shape::Extension, (MADE, -1), "vector"),
    Sample::of(Shape::Extension, (MADE, -1), "any other type of an extension"),
];
