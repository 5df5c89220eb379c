//! DuckDB as a destination.

use rowtide_core::{Error, Result};
use rowtide_duckdb::{DuckdbDestination, DuckdbOptions};
use rowtide_engine::config::{ConnectorSpec, Endpoint, Kind, OptionSpec as O, parse_size};

/// What the configuration knows of it.
pub(super) const SPEC: ConnectorSpec = ConnectorSpec {
    kind: "duckdb",
    schemes: &["duckdb"],
    url: "duckdb:warehouse.duckdb",
    about: "A DuckDB file. Data and checkpoint are written in one transaction. While a pipeline \
            runs no other process can open the file: that is a rule of DuckDB's.",
    options: OPTIONS,
    check: |section| options_of(section).map(|_| None),
};

const OPTIONS: &[O] = &[
    O::optional("path", Kind::Path, "\"warehouse.duckdb\"", "The file; made if it does not exist."),
    O::new(
        "memory_limit",
        Kind::Size(1 << 20),
        "\"1GiB\"",
        "Memory that DuckDB may use before it goes to disk. Rowtide's own buffers come on top. Rows of \
         which 2,048 take more than an eighth of it are copied a few at a time, and the file is not \
         compacted while it has them.",
    ),
    O::optional(
        "threads",
        Kind::Integer(1, 1024),
        "2",
        "Threads that DuckDB may use; by default half of the cores.",
    ),
    O::optional(
        "temp_directory",
        Kind::Path,
        "\"/var/tmp\"",
        "Where DuckDB puts what does not fit into memory; by default beside the file.",
    ),
];

/// The options of `end`.
///
/// # Errors
/// `Config` if they are malformed.
pub(crate) fn options(end: &Endpoint) -> Result<DuckdbOptions> {
    options_of(&end.options)
}

/// The URL gives a base, and the section's own keys win over it.
fn options_of(section: &toml::Table) -> Result<DuckdbOptions> {
    let base = match section.get("url").and_then(toml::Value::as_str) {
        Some(url) => Some(DuckdbOptions::from_url(url)?),
        None => None,
    };
    let mut own = section.clone();
    own.remove("url");
    let has = |key: &str| section.contains_key(key);
    if let (Some(base), false) = (&base, has("path")) {
        let path = base.path.to_str().unwrap_or_default();
        own.insert("path".into(), toml::Value::String(path.into()));
    }
    if let Some(limit) = section.get("memory_limit") {
        own.insert("memory_limit".into(), toml::Value::String(size_for_duckdb(limit)?));
    }
    let mut options: DuckdbOptions = super::deserialize(&own)?;
    if let Some(base) = base {
        if !has("memory_limit") {
            options.memory_limit = base.memory_limit;
        }
        options.threads = options.threads.or(base.threads);
        options.temp_directory = options.temp_directory.or(base.temp_directory);
    }
    options.validate()?;
    Ok(options)
}

/// A size as DuckDB spells it; it knows fewer units than the configuration does.
fn size_for_duckdb(value: &toml::Value) -> Result<String> {
    let bytes = match value {
        toml::Value::Integer(bytes) => u64::try_from(*bytes).ok(),
        toml::Value::String(text) => parse_size(text).ok(),
        _ => None,
    };
    let bytes = bytes.ok_or_else(|| Error::config("memory_limit is not a size"))?;
    Ok(format!("{}KiB", bytes.div_ceil(1024)))
}

pub(super) fn build(end: &Endpoint) -> Result<DuckdbDestination> {
    DuckdbDestination::new(options(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_described_options_are_those_of_the_connector() {
        for option in OPTIONS {
            let section = format!("url = \"duckdb:a\"\n{} = {}", option.key, option.example);
            let read = options_of(&toml::from_str(&section).unwrap());
            assert!(read.is_ok(), "{}: {:?}", option.key, read.err());
        }
    }

    #[test]
    fn the_section_wins_over_the_url() {
        let section = "url = \"duckdb:a.db?threads=4&memory_limit=2GiB\"\nmemory_limit = \"64MiB\"";
        let options = options_of(&toml::from_str(section).unwrap()).unwrap();
        assert_eq!(options.path.to_str(), Some("a.db"));
        assert_eq!((options.threads, options.memory_limit.as_str()), (Some(4), "65536KiB"));
    }

    #[test]
    fn the_described_default_is_the_connectors() {
        let limit = OPTIONS.iter().find(|option| option.key == "memory_limit").unwrap();
        let own = format!("\"{}\"", rowtide_duckdb::DEFAULT_MEMORY_LIMIT);
        assert_eq!(limit.default, Some(own.as_str()));
    }
}
