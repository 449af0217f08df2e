//! Parsers and writers of single configuration values.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use ipnet::IpNet;

use super::IceServer;

/// A value is not allowed for its setting. The error carries no text: the message is built from the
/// setting's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InvalidValue;

/// Returns the single value of a setting that is not a list.
pub(super) fn one<'a>(values: &[&'a str]) -> Result<&'a str, InvalidValue> {
    match values {
        [value] => Ok(value.trim()),
        _ => Err(InvalidValue),
    }
}

/// Returns the values of a list setting; a single empty value stands for an empty list.
fn list<'a, 'v>(values: &'a [&'v str]) -> &'a [&'v str] {
    match values {
        [value] if value.trim().is_empty() => &[],
        _ => values,
    }
}

/// Parses an IP address with a port.
pub(super) fn address(values: &[&str]) -> Result<SocketAddr, InvalidValue> {
    one(values)?.parse().map_err(|_| InvalidValue)
}

/// Parses IP addresses that clients can send media to.
pub(super) fn ips(values: &[&str]) -> Result<Vec<IpAddr>, InvalidValue> {
    let ip = |value: &&str| -> Result<IpAddr, InvalidValue> {
        let ip: IpAddr = value.trim().parse().map_err(|_| InvalidValue)?;
        if ip.is_unspecified() || ip.is_multicast() {
            Err(InvalidValue)
        } else {
            Ok(ip)
        }
    };
    list(values).iter().map(ip).collect()
}

/// Parses a whole number within a range; `_` may separate digits, as in TOML.
pub(super) fn number(values: &[&str], range: RangeInclusive<u32>) -> Result<u32, InvalidValue> {
    let digits = one(values)?.replace('_', "");
    let number: u32 = digits.parse().map_err(|_| InvalidValue)?;
    if range.contains(&number) {
        Ok(number)
    } else {
        Err(InvalidValue)
    }
}

/// Parses a boolean.
pub(super) fn boolean(values: &[&str]) -> Result<bool, InvalidValue> {
    match one(values)? {
        "true" | "yes" | "1" | "on" => Ok(true),
        "false" | "no" | "0" | "off" => Ok(false),
        _ => Err(InvalidValue),
    }
}

/// Parses a path; an empty path unsets the setting.
pub(super) fn path(values: &[&str]) -> Result<Option<PathBuf>, InvalidValue> {
    let path = one(values)?;
    Ok((!path.is_empty()).then(|| PathBuf::from(path)))
}

/// Parses origins in the form in which browsers send them: scheme, host and port, without a path
/// (RFC 6454, 6.2). `*` alone stands for every origin.
pub(super) fn origins(values: &[&str]) -> Result<Vec<String>, InvalidValue> {
    if values == ["*"] {
        return Ok(vec!["*".to_owned()]);
    }
    let origin = |value: &&str| -> Result<String, InvalidValue> {
        let value = value.trim().trim_end_matches('/').to_ascii_lowercase();
        let host = value
            .strip_prefix("https://")
            .or_else(|| value.strip_prefix("http://"))
            .ok_or(InvalidValue)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        if host.is_empty() || !host.bytes().all(plain) {
            return Err(InvalidValue);
        }
        Ok(value)
    };
    list(values).iter().map(origin).collect()
}

/// Parses STUN and TURN servers: `stun:host:port` or `turn:user:password@host:port`, with or
/// without `?transport=`.
pub(super) fn ice_servers(values: &[&str]) -> Result<Vec<IceServer>, InvalidValue> {
    let servers = list(values).iter();
    servers.map(|value| ice_server(value.trim())).collect()
}

/// Parses networks: IP addresses, with or without a prefix length.
pub(super) fn networks(values: &[&str]) -> Result<Vec<IpNet>, InvalidValue> {
    let network = |value: &&str| -> Result<IpNet, InvalidValue> {
        let value = value.trim();
        let address = value.parse::<IpAddr>().map(IpNet::from);
        address.or_else(|_| value.parse()).map_err(|_| InvalidValue)
    };
    list(values).iter().map(network).collect()
}

/// Parses host names without a port; a leading `*.` stands for any one label, `*` alone for every
/// name.
pub(super) fn hosts(values: &[&str]) -> Result<Vec<String>, InvalidValue> {
    let host = |value: &&str| -> Result<String, InvalidValue> {
        let value = value.trim().to_ascii_lowercase();
        let name = value.strip_prefix("*.").unwrap_or(&value);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let is_name = !name.is_empty() && name.bytes().all(plain);
        if is_name || value == "*" {
            Ok(value)
        } else {
            Err(InvalidValue)
        }
    };
    list(values).iter().map(host).collect()
}

fn ice_server(value: &str) -> Result<IceServer, InvalidValue> {
    // The value is later copied unchanged into the HTTP header `Link`.
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"<>\"\\".contains(&byte);
    if !value.bytes().all(plain) {
        return Err(InvalidValue);
    }
    let (scheme, rest) = value.split_once(':').ok_or(InvalidValue)?;
    let (credentials, host) = match rest.rsplit_once('@') {
        None => (None, rest),
        Some((credentials, host)) => {
            let (user, password) = credentials.split_once(':').ok_or(InvalidValue)?;
            (Some((user.to_owned(), password.to_owned())), host)
        }
    };
    let relays = matches!(scheme, "turn" | "turns");
    let answers_only = matches!(scheme, "stun" | "stuns");
    if host.is_empty() || !(relays || answers_only) || relays != credentials.is_some() {
        return Err(InvalidValue);
    }
    Ok(IceServer {
        url: format!("{scheme}:{host}"),
        credentials,
    })
}

/// Writes a STUN or TURN server, with its credentials, in the form of the setting `ice_servers`.
pub(super) fn show_ice_server(server: &IceServer) -> String {
    match (&server.credentials, server.url.split_once(':')) {
        (Some((user, password)), Some((scheme, host))) => {
            format!("{scheme}:{user}:{password}@{host}")
        }
        _ => server.url.clone(),
    }
}

/// Writes a string as TOML.
pub(super) fn quoted(text: impl fmt::Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

/// Writes a list of strings as TOML.
pub(super) fn quoted_list<T: fmt::Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(quoted).collect();
    format!("[{}]", items.join(", "))
}

/// Describes the given values of a setting for an error message. Messages end up in logs, so the
/// value of a TURN server, which contains a password, is never shown, even in the wrong setting.
///
/// - `secret`: whether the setting may contain passwords, so that none of its values is shown.
pub(super) fn shown(secret: bool, values: &[String]) -> String {
    let is_secret = |value: &str| value.trim_start().to_ascii_lowercase().starts_with("turn");
    if !secret && !values.iter().any(|value| is_secret(value)) {
        return format!("value `{}`", values.join(", "));
    }
    let bad = values.iter().enumerate();
    let bad = bad.filter(|(_, value)| ice_servers(&[value]).is_err());
    let bad: Vec<String> = bad.map(|(at, _)| (at + 1).to_string()).collect();
    let which = match bad.as_slice() {
        [] => "value".to_owned(),
        numbers => format!("value {} of {}", numbers.join(", "), values.len()),
    };
    format!("{which} (not shown because it may contain a password)")
}

/// Returns the Levenshtein distance of two words, in characters.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsed_origins_are_in_the_form_that_browsers_send() {
        assert_eq!(
            origins(&["https://A.example/"]),
            Ok(vec!["https://a.example".into()])
        );
        assert_eq!(origins(&["*"]), Ok(vec!["*".into()]));
        for bad in [
            "a.example",
            "ftp://a",
            "https://",
            "https://a/b",
            "https://a\r\nb",
        ] {
            assert!(origins(&[bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn turn_servers_need_credentials_and_stun_servers_refuse_them() {
        let servers = ice_servers(&["stun:s.example:3478", "turn:u:p@t.example?transport=tcp"])
            .expect("good");
        assert_eq!(servers[0].url, "stun:s.example:3478");
        assert_eq!(servers[1].url, "turn:t.example?transport=tcp");
        assert_eq!(
            show_ice_server(&servers[1]),
            "turn:u:p@t.example?transport=tcp"
        );
        for bad in [
            "turn:t.example",
            "stun:u:p@s.example",
            "http:x",
            "stun:",
            "stun:a b",
            "stun:a>",
            "s",
        ] {
            assert!(ice_servers(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn empty_config_value_is_an_empty_list() {
        assert_eq!(ips(&[""]), Ok(vec![]));
        assert_eq!(origins(&[" "]), Ok(vec![]));
        assert_eq!(ice_servers(&[""]), Ok(vec![]));
        assert_eq!(networks(&[""]), Ok(vec![]));
        assert_eq!(hosts(&[""]), Ok(vec![]));
        assert!(ips(&["192.0.2.1", ""]).is_err());
    }

    #[test]
    fn parsed_networks_are_addresses_with_or_without_a_prefix() {
        let read = networks(&["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]).expect("good");
        let shown: Vec<String> = read.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]);
        for bad in ["10.0.0.0/33", "proxy.example", "10.0.0.0/"] {
            assert!(networks(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn parsed_hosts_are_names_without_a_port() {
        let read = hosts(&["Mix.Example", "*.example.org", "*"]);
        let expected = ["mix.example", "*.example.org", "*"].map(str::to_owned);
        assert_eq!(read, Ok(expected.to_vec()));
        for bad in ["mix.example:443", "https://mix.example", "a b", "*.", "**"] {
            assert!(hosts(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn levenshtein_distance_counts_changed_letters() {
        assert_eq!(distance("max_room", "max_rooms"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn announced_addresses_must_be_reachable() {
        assert!(ips(&["192.0.2.1", "2001:db8::1"]).is_ok());
        for bad in ["0.0.0.0", "::", "224.0.0.1", "host", "1.2.3.4:5"] {
            assert!(ips(&[bad]).is_err(), "{bad}");
        }
    }
}
