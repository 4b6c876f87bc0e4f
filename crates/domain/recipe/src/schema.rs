//! The JSON Schema of recipes, from the table that the check itself uses.

use serde_json::{Map, Value, json};

use crate::keys::{EDITION, ROOT, SECRET_REFERENCE};
use crate::shape::{Form, Key, Needed, Shape, Table};

/// Returns the JSON Schema (draft 2020-12) of recipe files, for editors.
pub fn schema() -> Value {
    let mut definitions = Map::new();
    let mut root = object(&ROOT, &mut definitions);
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("kiln recipe");
    root["properties"]["edition"]["const"] = json!(EDITION);
    root["$defs"] = Value::Object(definitions);
    root
}

/// Returns a table as an object; what may come from another file or profile is not required.
fn object(table: &'static Table, definitions: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in table.all() {
        properties.insert(key.name.to_owned(), property(key, definitions));
        if key.needed == Needed::Here {
            required.push(key.name);
        }
    }
    let mut object = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !table.doc.is_empty() {
        object["description"] = json!(table.doc);
    }
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

fn property(key: &'static Key, definitions: &mut Map<String, Value>) -> Value {
    let mut property = shape(&key.shape, definitions);
    if !key.doc.is_empty() {
        property["description"] = json!(key.doc);
    }
    property
}

fn shape(of: &'static Shape, definitions: &mut Map<String, Value>) -> Value {
    match of {
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::Integer { from, to } => json!({ "type": "integer", "minimum": from, "maximum": to }),
        Shape::Text(form) => text(form),
        Shape::Word(words) => json!({ "enum": words.iter().map(|(word, _)| word).collect::<Vec<_>>() }),
        Shape::List(of) => json!({ "type": "array", "items": shape(of, definitions) }),
        Shape::Table(table) => reference(table, definitions),
        Shape::Tables(table) => json!({ "type": "array", "items": reference(table, definitions) }),
        Shape::Map(form, of) => {
            let mut map = json!({ "type": "object", "additionalProperties": shape(of, definitions) });
            if let Some(pattern) = form.pattern {
                map["propertyNames"] = json!({ "pattern": pattern });
            }
            map
        }
        Shape::Secret => reference(&SECRET_REFERENCE, definitions),
        Shape::Either(shapes) => {
            json!({ "anyOf": shapes.iter().map(|of| shape(of, definitions)).collect::<Vec<_>>() })
        }
    }
}

fn text(form: &Form) -> Value {
    match form.pattern {
        Some(pattern) => json!({ "type": "string", "pattern": pattern }),
        None => json!({ "type": "string" }),
    }
}

/// Each table is defined once under its own name and referred to: the root's keys come again in profiles.
fn reference(table: &'static Table, definitions: &mut Map<String, Value>) -> Value {
    let plain = table.name.trim_matches(['[', ']', '{', '}', ' ', '=', '…']).trim();
    let name = if plain.is_empty() { "profile" } else { plain };
    if !definitions.contains_key(name) {
        definitions.insert(name.to_owned(), Value::Null);
        let object = object(table, definitions);
        definitions.insert(name.to_owned(), object);
    }
    json!({ "$ref": format!("#/$defs/{}", name.replace('/', "~1")) })
}
