//! The settings described from the code: JSON Schema, reference page, example file.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Config;
use super::reload::is_live;

/// The JSON Schema (2020-12) of the configuration file.
#[must_use]
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    close(&mut schema);
    schema
}

/// Every setting is optional and no other is accepted, whichever way its section is read.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.remove("required");
            // The defaults of a section are those of its settings.
            if map.contains_key("properties") {
                map.insert("additionalProperties".into(), false.into());
                map.remove("default");
            }
            map.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// One setting as the schema describes it.
struct Setting {
    path: String,
    description: String,
    default: Value,
}

/// Every setting, a section before its contents.
fn settings() -> Vec<(Setting, bool)> {
    let mut found = Vec::new();
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    walk("", &schema(), &defaults, &mut found);
    found
}

fn walk(path: &str, schema: &Value, default: &Value, found: &mut Vec<(Setting, bool)>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    if !path.is_empty() {
        let description = schema.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
        let setting = Setting { path: path.into(), description, default: default.clone() };
        found.push((setting, properties.is_some()));
    }
    // Settings first, then sections, so that nothing is between a section's title and its own settings.
    for sections in [false, true] {
        for (name, schema) in properties.into_iter().flatten() {
            if schema.get("properties").is_some() == sections {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(&path, schema, default.get(name).unwrap_or(&Value::Null), found);
            }
        }
    }
}

/// The reference page, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(INTRODUCTION);
    let mut section = None;
    for (setting, is_section) in settings() {
        let Setting { path, description, default } = setting;
        if is_section {
            page.push_str(&format!("\n## {path}\n\n{description}\n"));
            section = None;
            continue;
        }
        if section.is_none() {
            page.push_str("\n| setting | default | live | |\n|---|---|---|---|\n");
            section = Some(());
        }
        let live = if is_live(&path) { "yes" } else { "" };
        page.push_str(&format!(
            "| `{path}` | `{}` | {live} | {} |\n",
            plain(&default),
            description.replace('|', "\\|")
        ));
    }
    page
}

/// An example file: every setting with its default, commented out.
#[must_use]
pub fn example() -> String {
    let mut file = String::from(EXAMPLE_INTRODUCTION);
    for (setting, is_section) in settings() {
        let depth = setting.path.matches('.').count();
        let (indent, name) = ("  ".repeat(depth), setting.path.rsplit('.').next().unwrap_or_default());
        if depth == 0 {
            file.push('\n');
        }
        file.push_str(&format!("{indent}# {}\n", setting.description));
        let value = if is_section { String::new() } else { format!(" {}", plain(&setting.default)) };
        file.push_str(&format!("{indent}{name}:{value}\n"));
    }
    file
}

/// A default as it is written in YAML.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The environment variables' names are derived, so they are explained once.
const INTRODUCTION: &str = "\
# Configuration

One YAML file, `tidegate serve --config FILE`. Every setting is optional; a setting that does not exist is refused.
`tidegate check --config FILE` prints every mistake with its line. `tidegate.schema.json` is the JSON Schema.

An environment variable overrides the file: `TIDEGATE__` and the setting's path in capitals, with `__` for each dot
(`TIDEGATE__ENGINE__MAX_TOPICS=500`). For listeners `LISTENERS__` may be left out (`TIDEGATE__KAFKA__LISTEN=off`).
Flags win over both.

Sizes are bytes, or a number with a unit (`64KiB`, `10MB`). Durations have a unit (`250ms`, `30s`, `1h30m`, `7d`).

The file is read again on `SIGHUP`, and when its contents change. A file with a mistake is refused whole and the running
configuration stays. *Live* settings take effect at once; the log names the others, which wait for a restart.

This page is generated by `tidegate config reference`.

## Top level
";

const EXAMPLE_INTRODUCTION: &str = "\
# Every setting of Tidegate with its default. All of them are optional: keep what you change.
# Generated by `tidegate config example`; docs/configuration.md explains units, environment variables and reloading.
";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{LIVE, NAMES, Sources};

    #[test]
    fn every_setting_is_documented() {
        for (setting, _) in settings() {
            assert!(!setting.description.is_empty(), "{} has no description", setting.path);
        }
    }

    #[test]
    fn the_schema_names_every_setting_there_is() {
        let defaults = serde_json::to_value(Config::default()).unwrap();
        let known: Vec<_> = settings().into_iter().map(|(setting, _)| setting.path).collect();
        let mut paths = vec![(String::new(), &defaults)];
        while let Some((path, value)) = paths.pop() {
            for (key, value) in value.as_object().into_iter().flatten() {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                assert!(known.contains(&path), "{path} is not in the schema");
                paths.push((path, value));
            }
        }
        assert!(NAMES.iter().all(|name| known.contains(&format!("listeners.{name}.listen"))));
    }

    #[test]
    fn every_live_setting_exists() {
        let known: Vec<_> = settings().into_iter().map(|(setting, _)| setting.path).collect();
        assert!(LIVE.iter().all(|live| known.contains(&(*live).to_owned())), "{known:?}");
    }

    #[test]
    fn the_example_is_the_default() {
        assert_eq!(Sources::default().parse(&example()).unwrap(), Config::default());
    }

    #[test]
    fn committed_files_are_up_to_date() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let schema = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        let generated = [
            ("docs/configuration.md", reference()),
            ("tidegate.example.yaml", example()),
            ("tidegate.schema.json", schema),
        ];
        for (file, contents) in generated {
            let committed = std::fs::read_to_string(root.join(file)).unwrap_or_default();
            assert!(committed == contents, "{file} is out of date: run `just generate`");
        }
    }
}
