//! What the source's tables are like now, by its own catalog: a model that is never wrong.

use rowtide_testkit::Result;

use super::session::Sessions;

/// A table in one of the schemas that the fuzz uses.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) schema: String,
    pub(super) name: String,
    /// `d`efault, `n`othing, `f`ull, `i`ndex.
    pub(super) identity: String,
    /// `r`elation or `p`artitioned.
    pub(super) kind: String,
    /// The root, if it is a partition.
    pub(super) root: Option<String>,
    pub(super) columns: Vec<Column>,
}

/// A column that is not dropped.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// As the server prints it.
    pub(super) kind: String,
    pub(super) not_null: bool,
    pub(super) has_default: bool,
    pub(super) generated: bool,
    /// Belongs to the primary key.
    pub(super) key: bool,
    /// The labels of an enum.
    pub(super) labels: Vec<String>,
}

impl Table {
    /// Its name as SQL takes it.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// `schema.table`.
    pub(super) fn plain(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// What a pipeline of `public.*` is to follow.
    pub(super) fn is_selected(&self) -> bool {
        self.schema == "public" && self.root.is_none()
    }

    pub(super) fn key(&self) -> Vec<&Column> {
        self.columns.iter().filter(|column| column.key).collect()
    }

    /// Columns that statements may name.
    pub(super) fn writable(&self) -> Vec<&Column> {
        self.columns.iter().filter(|column| !column.generated).collect()
    }

    /// Columns outside of the key.
    pub(super) fn plain_columns(&self) -> Vec<&Column> {
        self.columns.iter().filter(|column| !column.key).collect()
    }

    pub(super) fn is_partitioned(&self) -> bool {
        self.kind == "p"
    }
}

/// An identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A literal.
pub(super) fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// Every table, in the order of their names.
pub(super) fn look(sessions: &Sessions) -> Result<Vec<Table>> {
    const QUERY: &str = "\
        SELECT n.nspname, c.relname, c.relreplident, c.relkind, \
          coalesce((SELECT r.relname FROM pg_inherits i JOIN pg_class r ON r.oid = i.inhparent \
            WHERE i.inhrelid = c.oid AND c.relispartition), ''), \
          a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.atthasdef, \
          a.attgenerated <> '', \
          EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisprimary \
            AND a.attnum = ANY (x.indkey::int2[])), \
          coalesce((SELECT string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_enum e \
            WHERE e.enumtypid = a.atttypid), '') \
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
        WHERE n.nspname IN ('public', 'side') AND c.relkind IN ('r', 'p') \
        ORDER BY 1, 2, a.attnum";
    let mut tables: Vec<Table> = Vec::new();
    for row in sessions.rows(QUERY)? {
        let [
            schema,
            name,
            identity,
            kind,
            root,
            column,
            of,
            not_null,
            default,
            generated,
            key,
            labels,
        ] = row.as_slice()
        else {
            return Err(format!("an unexpected row of the catalog: {row:?}"));
        };
        let column = Column {
            name: column.clone(),
            kind: of.clone(),
            not_null: not_null == "t",
            has_default: default == "t",
            generated: generated == "t",
            key: key == "t",
            labels: labels
                .split(',')
                .filter(|label| !label.is_empty())
                .map(str::to_owned)
                .collect(),
        };
        match tables.last_mut().filter(|table| table.name == *name && table.schema == *schema) {
            Some(table) => table.columns.push(column),
            None => tables.push(Table {
                schema: schema.clone(),
                name: name.clone(),
                identity: identity.clone(),
                kind: kind.clone(),
                root: Some(root.clone()).filter(|root| !root.is_empty()),
                columns: vec![column],
            }),
        }
    }
    Ok(tables)
}
