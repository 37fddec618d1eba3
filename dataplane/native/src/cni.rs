//! The CNI plugin: it only carries. One JSON object with the CNI_* environment and the standard input goes to the node agent's socket, which
//! is named in the configuration; the answer comes back and is printed. An answer with a `code` is an error (CNI specification 1.0, §5).
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const LIMIT: u64 = 1 << 20;

fn escape(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The value of a string member; enough for a path, and no JSON library for one field.
fn string_member(json: &str, name: &str) -> Option<String> {
    let at = json.find(&format!("\"{name}\""))? + name.len() + 2;
    let rest = json[at..].trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    Some(rest[..rest.find('"')?].to_string())
}

fn call() -> Result<String, String> {
    let mut config = String::new();
    std::io::stdin().take(LIMIT).read_to_string(&mut config).map_err(|e| format!("standard input: {e}"))?;
    let config = config.trim();
    let socket = string_member(config, "socket").ok_or("the configuration names no socket")?;
    let mut request = String::from("{\"env\":{");
    for (i, (key, value)) in std::env::vars().filter(|(k, _)| k.starts_with("CNI_")).enumerate() {
        if i > 0 {
            request.push(',');
        }
        escape(&key, &mut request);
        request.push(':');
        escape(&value, &mut request);
    }
    request.push_str("},\"config\":");
    request.push_str(&config.replace(['\n', '\r'], " "));
    request.push_str("}\n");
    let mut stream = UnixStream::connect(&socket).map_err(|e| format!("{socket}: {e}; is the node agent running?"))?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(|e| e.to_string())?;
    stream.write_all(request.as_bytes()).map_err(|e| format!("{socket}: {e}"))?;
    let mut answer = String::new();
    stream.take(LIMIT).read_to_string(&mut answer).map_err(|e| format!("{socket}: {e}"))?;
    Ok(answer.trim().to_string())
}

fn main() {
    let (answer, failed) = match call() {
        Ok(a) => {
            let failed = a.is_empty() || a.contains("\"code\":");
            (a, failed)
        }
        Err(message) => {
            let mut out = String::from("{\"cniVersion\":\"0.4.0\",\"code\":11,\"msg\":");
            escape(&message, &mut out);
            out.push('}');
            (out, true)
        }
    };
    println!("{answer}");
    std::process::exit(i32::from(failed));
}
