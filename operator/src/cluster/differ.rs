//! Whether an object is as it is to be: all that is declared is there. What others have added to it is theirs. What was declared once
//! and is not any more shows in the hash of the manifest, which is declared with the rest.

use serde_json::Value;

/// Whether something that is declared is not so.
pub fn differs(declared: &Value, there: &Value) -> bool {
    !holds(declared, Some(there), false)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn holds(declared: &Value, there: Option<&Value>, amounts: bool) -> bool {
    let Some(there) = there else { return is_nothing(declared) };
    match (declared, there) {
        (Value::Object(declared), Value::Object(there)) => declared.iter().all(|(key, value)| {
            // The API server writes amounts in its own way: 1024Mi as 1Gi.
            let amounts = amounts || matches!(key.as_str(), "requests" | "limits" | "sizeLimit");
            holds(value, there.get(key), amounts)
        }),
        (Value::Array(declared), Value::Array(there)) => {
            let name = |value: &Value| value.get("name").and_then(Value::as_str).map(str::to_owned);
            if declared.iter().all(|value| name(value).is_some()) {
                // Lists by name: others may have added to them.
                return declared.iter().all(|value| {
                    holds(value, there.iter().find(|other| name(other) == name(value)), amounts)
                });
            }
            declared.len() == there.len()
                && declared.iter().zip(there).all(|(declared, there)| holds(declared, Some(there), amounts))
        }
        (Value::String(declared), Value::String(there)) if amounts => {
            declared == there || amount(declared).is_some_and(|amount_| Some(amount_) == amount(there))
        }
        _ => declared == there,
    }
}

/// An amount in thousandths.
fn amount(text: &str) -> Option<u128> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let unit: u128 = match suffix {
        "m" => 1,
        "" => 1000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        "Pi" => 1000 << 50,
        _ => return None,
    };
    number.parse::<u128>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_declared_is_there_and_more_may_be() {
        let declared = json!({
            "spec": {
                "replicas": 2,
                "ports": [{ "name": "http", "port": 80 }],
                "args": ["a", "b"],
                "none": [],
                "resources": { "limits": { "memory": "1024Mi", "cpu": "1000m" } },
            },
        });
        let there = json!({
            "spec": {
                "replicas": 2,
                "ports": [{ "name": "more", "port": 1 }, { "name": "http", "port": 80, "protocol": "TCP" }],
                "args": ["a", "b"],
                "resources": { "limits": { "memory": "1Gi", "cpu": "1" } },
            },
            "status": {},
        });
        assert!(!differs(&declared, &there));
        for (path, value) in [
            ("/spec/replicas", json!(3)),
            ("/spec/ports/1/port", json!(81)),
            ("/spec/args", json!(["a"])),
            ("/spec/args", json!(["a", "b", "c"])),
            ("/spec/resources/limits/memory", json!("2Gi")),
            ("/spec/ports", json!([])),
            ("/spec", json!(null)),
        ] {
            let mut other = there.clone();
            *other.pointer_mut(path).unwrap() = value;
            assert!(differs(&declared, &other), "{path}");
        }
    }
}
