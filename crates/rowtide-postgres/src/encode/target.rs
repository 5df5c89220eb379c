//! The columns of a target, with the types they have at the server that holds it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow_schema::{DataType, Field, SchemaRef};
use rowtide_core::{Error, Mode, Result, TablePlan};

use super::native::{self, Described};
use super::values::{Form, is_written};
use crate::catalog::load_types;
use crate::client::{Sql, get};
use crate::types::{Kind, Mapping, SYSTEM, TypeMap};

/// The names of types at this server, and its version.
const FOUND: &str = "\
SELECT coalesce(pg_catalog.to_regtype(n)::oid, 0), \
       pg_catalog.current_setting('server_version_num')::int4 \
FROM unnest($1::text[]) WITH ORDINALITY AS u (n, o) ORDER BY o";

/// From here on a numeric's scale may be negative or beyond its precision.
const ANY_SCALE: i32 = 150_000;

/// One column of a target (or staging) table.
#[derive(Debug, Clone)]
pub(crate) struct TargetColumn {
    pub(crate) name: String,
    /// Ready for DDL: quoted, and schema-qualified where it must be, as `format_type` prints it.
    pub(crate) sql_type: String,
    /// The same without its domain, which could refuse the NULLs of incomplete rows (keys alone,
    /// values that the log did not repeat). Values have one form for both.
    pub(crate) staging_type: String,
    /// The target table, for messages.
    table: Arc<str>,
    kind: Kind,
    /// The element type's oid and how it is read, for arrays.
    items: Option<(u32, Kind)>,
}

impl TargetColumn {
    /// How Arrow values of `data_type` are written in binary; `None` where only text can be.
    pub(super) fn binary_form(&self, data_type: &DataType) -> Option<Form> {
        match (data_type, &self.items) {
            (DataType::List(item), Some((element, kind))) => {
                let form = Form::binary(kind, item.data_type())?;
                Some(Form { element: *element, ..form })
            }
            _ => Form::binary(&self.kind, data_type),
        }
    }

    pub(super) fn check_type(&self, field: &Field) -> Result<()> {
        if is_written(field.data_type()) {
            return Ok(());
        }
        Err(unwritten(&self.table, field))
    }

    /// A value of this column that cannot be written.
    pub(super) fn refused(&self, why: &str) -> Error {
        Error::data(format!(
            "a value of the column {} ({}) of {} cannot be written: {why}",
            self.name, self.sql_type, self.table
        ))
        .with_hint("change the value at the source, or take the column out of the pipeline")
    }

    /// A column described without a server.
    #[cfg(test)]
    pub(super) fn described(name: &str, sql_type: &str, kind: Kind) -> Self {
        let items = match &kind {
            Kind::List(item) => Some((1, (**item).clone())),
            _ => None,
        };
        let (name, sql_type) = (name.to_owned(), sql_type.to_owned());
        let staging_type = sql_type.clone();
        Self { name, sql_type, staging_type, table: "public.t".into(), kind, items }
    }

    /// How values of this column are read.
    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }

    pub(super) fn is_array(&self) -> bool {
        self.items.is_some()
    }
}

fn unwritten(table: &str, field: &Field) -> Error {
    Error::config(format!(
        "the column {} of {table} cannot be written: no type of PostgreSQL stands for Arrow's {}",
        field.name(),
        field.data_type()
    ))
    .with_hint("take the column out of the pipeline")
}

/// The columns of `plan.target_arrow()`, in order, with the types they have at this server.
///
/// Columns of a PostgreSQL source have their own types, as far as those exist here and are the
/// same; other columns have what is natural for their Arrow type.
///
/// # Errors
/// `Config` for an Arrow type that nothing here stands for; errors of the connection.
pub(crate) async fn target_columns(sql: &Sql, plan: &TablePlan) -> Result<Vec<TargetColumn>> {
    let mut one = columns_of(sql, &[plan]).await?;
    one.pop().unwrap_or_else(|| Err(Error::internal("a plan got no columns")))
}

/// The same for each of `plans`, with as many questions as for one.
///
/// # Errors
/// Of the connection.
pub(crate) async fn columns_of(
    sql: &Sql,
    plans: &[&TablePlan],
) -> Result<Vec<Result<Vec<TargetColumn>>>> {
    let schemas: Vec<SchemaRef> = plans.iter().map(|plan| plan.target_arrow()).collect();
    let wanted: Vec<Result<Vec<Wanted<'_>>>> =
        plans.iter().zip(&schemas).map(|(plan, schema)| wanted(plan, schema)).collect();
    let here = Here::look_up(sql, wanted.iter().flatten().flatten()).await?;
    let of_plan = |(plan, wanted): (&&TablePlan, Result<Vec<Wanted<'_>>>)| {
        let table: Arc<str> = plan.target.to_string().into();
        // Rows of append tables may hold nothing but a key.
        let complete = plan.mode != Mode::Append;
        Ok(wanted?.iter().map(|column| here.column(column, (&table, complete))).collect())
    };
    Ok(plans.iter().zip(wanted).map(of_plan).collect())
}

/// What the columns of `plan`, whose fields are those of `schema`, could be.
fn wanted<'a>(plan: &'a TablePlan, schema: &'a SchemaRef) -> Result<Vec<Wanted<'a>>> {
    let table = plan.target.to_string();
    let ours = plan.source.system.as_deref() == Some(SYSTEM);
    let natives = plan.source.columns.iter().map(|column| column.native_type.as_str());
    let natives = natives.map(|native| ours.then_some(native)).chain(std::iter::repeat(None));
    let pairs = natives.zip(schema.fields());
    pairs.map(|(native, field)| Wanted::new(native, field, &table)).collect()
}

/// The type that a column described as `native` has at a server where that type exists too.
pub(crate) fn stands_as(native: &str, field: &Field) -> String {
    let own = Described::new(native);
    let natural = || native::natural(field).unwrap_or_default();
    match own.is_only_there() {
        false => own.printed.to_owned(),
        true => own.stand_in().unwrap_or_else(natural),
    }
}

/// What a column could be, best first.
struct Wanted<'a> {
    field: &'a Field,
    own: Option<Described<'a>>,
    stand_in: Option<String>,
    natural: String,
}

impl<'a> Wanted<'a> {
    fn new(native: Option<&'a str>, field: &'a Field, table: &str) -> Result<Self> {
        let described = native.map(Described::new);
        let natural = native::natural(field).ok_or_else(|| unwritten(table, field))?;
        Ok(Self {
            field,
            own: described.filter(|own| !own.is_only_there()),
            stand_in: described.and_then(Described::stand_in),
            natural,
        })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let own = self.own.map(|own| own.printed);
        own.into_iter().chain(self.stand_in.as_deref()).chain([self.natural.as_str()])
    }
}

/// The types of this server that columns ask for.
struct Here {
    /// By name without modifier; those that do not exist are absent.
    oids: HashMap<String, u32>,
    types: TypeMap,
    version: i32,
}

impl Here {
    async fn look_up<'a>(sql: &Sql, wanted: impl Iterator<Item = &'a Wanted<'a>>) -> Result<Self> {
        let names: BTreeSet<String> = wanted
            .flat_map(Wanted::names)
            // What `format_type` says of a type that is gone.
            .filter(|name| !name.is_empty() && !name.starts_with('?'))
            .map(native::without_modifier)
            .collect();
        let names: Vec<String> = names.into_iter().collect();
        let mut here = Self { oids: HashMap::new(), types: TypeMap::default(), version: 0 };
        let rows = sql.rows("looking for the target's types", FOUND, &[&names]).await?;
        for (name, row) in names.into_iter().zip(&rows) {
            here.version = get(row, 1)?;
            match get::<u32>(row, 0)? {
                0 => {}
                oid => drop(here.oids.insert(name, oid)),
            }
        }
        load_types(sql, &mut here.types, here.oids.values().copied()).await?;
        Ok(here)
    }

    fn oid(&self, name: &str) -> Option<u32> {
        self.oids.get(&native::without_modifier(name)).copied()
    }

    /// A column of `table`; with its domain if its rows are `complete`.
    fn column(&self, wanted: &Wanted<'_>, (table, complete): (&Arc<str>, bool)) -> TargetColumn {
        let (sql_type, oid) = self.choose(wanted);
        let staging_type = self.without_domain(oid).unwrap_or_else(|| sql_type.clone());
        TargetColumn {
            name: wanted.field.name().clone(),
            sql_type: if complete { sql_type } else { staging_type.clone() },
            staging_type,
            table: Arc::clone(table),
            kind: self.kind(oid),
            items: self.items(oid),
        }
    }

    /// The best type that exists, and its oid.
    fn choose(&self, wanted: &Wanted<'_>) -> (String, u32) {
        let own = wanted.own.and_then(|own| {
            let oid = self.oid(own.printed).filter(|oid| self.is_same(*oid, own))?;
            Some((self.spelled(own.printed), oid))
        });
        let stand_in = || {
            let name = wanted.stand_in.as_deref()?;
            Some((self.spelled(name), self.oid(name)?))
        };
        let natural = || (self.spelled(&wanted.natural), self.oid(&wanted.natural).unwrap_or(0));
        own.or_else(stand_in).unwrap_or_else(natural)
    }

    /// Whether the type with this oid is what `own` describes: a name alone could be that of a
    /// domain over something else, whose binary form would be misread.
    fn is_same(&self, oid: u32, own: Described<'_>) -> bool {
        let mapping = Mapping { native: true, ..Mapping::default() };
        let (_, here) = self.types.describe((oid, -1, own.printed), mapping);
        Described::new(&here) == own
    }

    /// A name as this server understands it.
    fn spelled(&self, name: &str) -> String {
        if self.version < ANY_SCALE && native::is_numeric_of_newer(name) {
            return native::without_modifier(name);
        }
        name.to_owned()
    }

    /// The name of what the domain stands on; `None` if it is no domain.
    fn without_domain(&self, oid: u32) -> Option<String> {
        let row = self.types.rows.get(&oid).filter(|row| row.class == b'd')?;
        self.without_domain(row.base).or_else(|| Some(row.base_name.clone()))
    }

    /// How values of the type would be read.
    fn kind(&self, oid: u32) -> Kind {
        let mapping = Mapping { native: true, ..Mapping::default() };
        self.types.describe((oid, -1, ""), mapping).0
    }

    fn items(&self, oid: u32) -> Option<(u32, Kind)> {
        let row = self.types.rows.get(&oid)?;
        match (row.class, row.element) {
            (b'd', _) => self.items(row.base),
            (_, 0) => None,
            (_, element) => Some((element, self.kind(element))),
        }
    }
}
