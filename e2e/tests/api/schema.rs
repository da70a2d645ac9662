//! Checks values against the schemas of an OpenAPI 3.1 document: the part of JSON Schema that it uses.

use serde_json::Value;

/// What in `value` is not as `schema` says, with where.
pub(crate) fn violations(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(document, schema, value, "$", &mut found);
    found
}

fn walk(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(target) = schema["$ref"].as_str() {
        match document.pointer(target.trim_start_matches('#')) {
            Some(schema) => walk(document, schema, value, at, found),
            None => found.push(format!("{at}: {target} is not in the document")),
        }
    }
    for schema in list(&schema["allOf"]) {
        walk(document, schema, value, at, found);
    }
    for key in ["oneOf", "anyOf"] {
        let choices = list(&schema[key]);
        if !choices.is_empty() && choices.iter().all(|choice| !violations(document, choice, value).is_empty())
        {
            found.push(format!("{at}: {value} is none of {key}"));
        }
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.iter().any(|name| is(value, name)) {
        found.push(format!("{at}: {value} is not of type {types:?}"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        found.push(format!("{at}: {value} is none of {allowed:?}"));
    }
    if let Some(object) = value.as_object() {
        for name in list(&schema["required"]).iter().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                found.push(format!("{at}: {name} is missing"));
            }
        }
        let properties = schema["properties"].as_object();
        for (name, value) in object {
            let at = format!("{at}.{name}");
            match (properties.and_then(|known| known.get(name)), &schema["additionalProperties"]) {
                (Some(schema), _) | (None, schema @ Value::Object(_)) => {
                    walk(document, schema, value, &at, found);
                }
                (None, Value::Bool(false)) => found.push(format!("{at} is not described")),
                _ => {}
            }
        }
    }
    if let Some(items) = value.as_array()
        && schema["items"].is_object()
    {
        for (index, item) in items.iter().enumerate() {
            walk(document, &schema["items"], item, &format!("{at}[{index}]"), found);
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn is(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

#[test]
fn finds_what_is_wrong() {
    let document = serde_json::json!({"components": {"schemas": {"User": {
        "type": "object", "required": ["id"],
        "properties": {
            "id": {"type": "string"}, "age": {"type": ["integer", "null"]}, "kind": {"enum": ["a", "b"]},
            "friends": {"type": "array", "items": {"$ref": "#/components/schemas/User"}},
        },
    }}}});
    let user = serde_json::json!({"$ref": "#/components/schemas/User"});
    let wrong = |value: Value| violations(&document, &user, &value).len();
    assert_eq!(
        wrong(serde_json::json!({"id": "x", "age": null, "kind": "a", "friends": [{"id": "y"}], "new": 1})),
        0
    );
    assert_eq!(wrong(serde_json::json!({"id": 5, "age": "old", "kind": "c", "friends": [{}]})), 4);
    assert_eq!(wrong(serde_json::json!([])), 1);
    let either = serde_json::json!({"oneOf": [user, {"type": "null"}]});
    assert!(violations(&document, &either, &Value::Null).is_empty());
    assert_eq!(violations(&document, &either, &serde_json::json!(5)).len(), 1);
}
