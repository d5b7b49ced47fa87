//! The option `semantic.allow_hosts`.
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use url::{Host, Url};

use super::is_public;
use crate::error::{Error, Result, data_err, query_err};

/// The hosts, buckets and hubs that a query may reach. The default is none.
///
/// It is written `all`, for every one, or as a list with commas:
///
/// - `example.com`, `example.com:8443`, `10.1.2.3`, `[fd00::1]`: this host over http and https, wherever it is;
/// - `*.example.com`, `*`: hosts below this domain, any host, if their addresses are public: not of private networks,
///   not this machine, not the metadata service of a cloud;
/// - `https://...`: one of these, over this scheme alone;
/// - `s3://bucket`, `gs://bucket`, `az://container`, `hf://datasets`, `hf://models`: files in there, reached as the
///   process is configured to; `s3://*` for every bucket. No entry without a scheme allows these: they are read with the
///   credentials of the process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct AllowHosts {
    all: bool,
    patterns: Vec<Pattern>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pattern {
    /// None: http and https
    scheme: Option<String>,
    host: HostPattern,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum HostPattern {
    Any,
    /// the names below this one
    Below(String),
    Name(String),
    Address(IpAddr),
}

/// Which addresses a host that may be reached may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Whatever its name resolves to: the host is listed by its name.
    Anywhere,
    /// Public ones.
    Public,
}

impl AllowHosts {
    /// Every host.
    #[must_use]
    pub fn all() -> Self {
        Self { all: true, patterns: vec![], text: "all".to_owned() }
    }

    /// Whether `url` may be asked, over http or https. Nothing is looked up. The error does not show more of it than
    /// its host.
    pub(crate) fn reach(&self, url: &Url) -> Result<Reach> {
        if self.all {
            return Ok(Reach::Anywhere);
        }
        let Some(host) = url.host().filter(|_| matches!(url.scheme(), "http" | "https")) else {
            return data_err!("'{}' URLs cannot be read here", url.scheme());
        };
        if !url.username().is_empty() || url.password().is_some() {
            return data_err!(
                "host '{host}' is not asked: its URL carries a user name or a password, which is allowed only where \
                 semantic.allow_hosts is 'all'"
            );
        }
        let host = without_dot(host.to_owned());
        let port = url.port_or_known_default();
        let scheme_and_port = |pattern: &&Pattern| {
            pattern.scheme.as_deref().is_none_or(|scheme| scheme == url.scheme())
                && (pattern.port.is_none() || pattern.port == port)
        };
        let mut by_pattern = false;
        for pattern in self.patterns.iter().filter(scheme_and_port) {
            match (&pattern.host, &host) {
                (HostPattern::Name(name), Host::Domain(host)) if name == host => return Ok(Reach::Anywhere),
                (HostPattern::Address(address), host) if address_of(host) == Some(*address) => {
                    return Ok(Reach::Anywhere);
                }
                (HostPattern::Any, _) => by_pattern = true,
                (HostPattern::Below(domain), Host::Domain(host)) if is_below(host, domain) => {
                    by_pattern = true;
                }
                _ => {}
            }
        }
        let may_be_public = match (&host, address_of(&host)) {
            (_, Some(address)) => is_public(address),
            // this machine by RFC 6761, whatever a resolver says
            (Host::Domain(name), None) => name != "localhost" && !name.ends_with(".localhost"),
            _ => false,
        };
        match by_pattern {
            true if may_be_public => Ok(Reach::Public),
            true => Err(not_public(&host.to_string())),
            false => {
                data_err!("host '{host}' is not allowed: semantic.allow_hosts does not list it")
            }
        }
    }

    /// Whether the store of `url`, which is read with the credentials of the process, may be used.
    pub(crate) fn check_store(&self, url: &Url) -> Result<()> {
        let (scheme, name) = (url.scheme(), url.host_str().unwrap_or_default());
        let listed = self.patterns.iter().any(|pattern| {
            pattern.scheme.as_deref() == Some(scheme)
                && match &pattern.host {
                    HostPattern::Any => true,
                    HostPattern::Name(listed) => listed == name,
                    _ => false,
                }
        });
        if self.all || listed {
            return Ok(());
        }
        data_err!("'{scheme}://{name}' is not allowed: semantic.allow_hosts does not list it")
    }
}

/// The error of a host that is allowed by a pattern, and is not on the public internet.
pub(crate) fn not_public(host: &str) -> Error {
    Error::Data(format!(
        "host '{host}' is not allowed: its address is not public, and semantic.allow_hosts does not list it by its name"
    ))
}

/// `example.com.` is `example.com`.
fn without_dot(host: Host) -> Host {
    match host {
        Host::Domain(name) => Host::Domain(name.trim_end_matches('.').to_owned()),
        host => host,
    }
}

fn address_of(host: &Host) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(IpAddr::V4(*address)),
        Host::Ipv6(address) => Some(IpAddr::V6(*address).to_canonical()),
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

impl fmt::Display for AllowHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for AllowHosts {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if text == "all" {
            return Ok(Self::all());
        }
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        if entries.clone().any(|entry| entry == "all") {
            return query_err!("'all' allows every host and stands alone, found '{text}'");
        }
        let patterns = entries.map(str::parse).collect::<Result<_>>()?;
        Ok(Self { all: false, patterns, text: text.to_owned() })
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(entry: &str) -> Result<Self> {
        let (scheme, rest) = match entry.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, entry),
        };
        let wrong = || {
            query_err!(
                "'{entry}' is not a host: write 'all', or a list like 'example.com, *.example.org, 10.1.2.3:9000, \
                 https://*, s3://bucket, hf://datasets'"
            )
        };
        if matches!(scheme.as_deref(), Some("file" | "")) {
            return query_err!("'{entry}' is not a host: semantic.allow_paths lists local folders");
        }
        if rest == "*" {
            return Ok(Self { scheme, host: HostPattern::Any, port: None });
        }
        if scheme.as_deref().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
            if rest.is_empty() || rest.contains(['/', '*', '@', ':']) {
                return wrong();
            }
            return Ok(Self { scheme, host: HostPattern::Name(rest.to_owned()), port: None });
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => match port.parse() {
                Ok(port) => (host, Some(port)),
                Err(_) => return wrong(),
            },
            _ => (rest, None),
        };
        let below = host.strip_prefix("*.");
        let host = match Host::parse(below.unwrap_or(host)).map(without_dot) {
            Ok(Host::Domain(name)) if name.is_empty() || name.contains('*') => return wrong(),
            Ok(Host::Domain(name)) if below.is_some() => HostPattern::Below(name),
            Ok(Host::Domain(name)) => HostPattern::Name(name),
            Ok(address) if below.is_none() => match address_of(&address) {
                Some(address) => HostPattern::Address(address),
                None => return wrong(),
            },
            _ => return wrong(),
        };
        Ok(Self { scheme, host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(allowed: &str, url: &str) -> Result<Reach, String> {
        let allowed: AllowHosts = allowed.parse().unwrap();
        let url = Url::parse(url).map_err(|error| error.to_string())?;
        allowed.reach(&url).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let error = AllowHosts::default().reach(&Url::parse("https://example.com/a?key=SECRET").unwrap());
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "host 'example.com' is not allowed: semantic.allow_hosts does not list it");
    }

    #[test]
    fn all_is_no_name_of_a_host() {
        let error = "all, s3://photos".parse::<AllowHosts>().unwrap_err().to_string();
        assert_eq!(error, "'all' allows every host and stands alone, found 'all, s3://photos'");
    }

    #[test]
    fn listed_hosts_are_reached_anywhere_and_patterns_in_public() {
        for (allowed, url, expected) in [
            ("all", "http://127.0.0.1/", Reach::Anywhere),
            ("example.com", "https://example.com/x", Reach::Anywhere),
            ("example.com", "https://EXAMPLE.com./x", Reach::Anywhere),
            ("Example.COM.", "https://example.com:8443/x", Reach::Anywhere),
            ("a.com, example.com:8443", "https://example.com:8443/x", Reach::Anywhere),
            ("example.com:443", "https://example.com/x", Reach::Anywhere),
            ("https://example.com", "https://example.com/x", Reach::Anywhere),
            ("127.0.0.1", "http://2130706433/", Reach::Anywhere),
            ("127.0.0.1", "http://[::ffff:127.0.0.1]/", Reach::Anywhere),
            ("[::1]:80", "http://[::1]/", Reach::Anywhere),
            ("bücher.example", "https://xn--bcher-kva.example/", Reach::Anywhere),
            ("*", "https://example.com/x", Reach::Public),
            ("*", "https://1.1.1.1/x", Reach::Public),
            ("https://*", "https://example.com/x", Reach::Public),
            ("*.example.com", "https://a.b.example.com/x", Reach::Public),
            ("*, localhost", "http://localhost/", Reach::Anywhere),
        ] {
            assert_eq!(reach(allowed, url), Ok(expected), "{allowed} {url}");
        }
    }

    #[test]
    fn what_is_not_listed_is_refused_however_it_is_written() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://0x7f.1/",
            "http://127.0.0.1./",
            "http://１２７.０.０.１/",
            "http://%31%32%37.0.0.1/",
            "http://0.0.0.0/",
            "http://0/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://169.254.169.254/latest/meta-data/",
            "http://10.0.0.1/",
            "http://172.16.0.1/",
            "http://192.168.0.1/",
            "http://100.64.0.1/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://user@1.1.1.1/",
            "http://user:password@example.com/",
            "http://example.com@127.0.0.1/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "gopher://example.com/",
            "data:text/plain,x",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://a.localhost/",
        ] {
            assert!(reach("*", url).is_err(), "{url}");
        }
        for url in [
            "http://127.0.0.1/",
            "http://example.com.evil.net/",
            "http://evil.net/example.com",
            "http://example.com@evil.net/",
            "http://evil.net#example.com",
            "http://evil.net\\@example.com/",
            "http://notexample.com/",
            "http://sub.example.com/",
            "http://example.com:81/",
            "http://localhost./",
            "http://exаmple.com/",
        ] {
            assert!(reach("example.com:80", url).is_err(), "{url}");
        }
        assert!(reach("*.example.com", "https://example.com/").is_err());
        assert!(reach("*.example.com", "https://evilexample.com/").is_err());
        assert!(reach("https://*", "http://example.com/").is_err());
    }

    #[test]
    fn stores_are_listed_by_their_scheme() {
        let check = |allowed: &str, url: &str| {
            allowed.parse::<AllowHosts>().unwrap().check_store(&Url::parse(url).unwrap()).is_ok()
        };
        for (allowed, url, expected) in [
            ("all", "s3://photos", true),
            ("s3://photos", "s3://photos", true),
            ("s3://*", "s3://photos", true),
            ("s3://photos", "s3://other", false),
            ("gs://photos", "s3://photos", false),
            ("*, photos, http://photos", "s3://photos", false),
            ("hf://datasets", "hf://datasets", true),
            ("hf://datasets", "hf://models", false),
            ("", "s3://photos", false),
        ] {
            assert_eq!(check(allowed, url), expected, "{allowed} {url}");
        }
    }

    #[test]
    fn wrong_entries_are_refused() {
        for entry in [
            "a b",
            "exa*ple.com",
            "*.*",
            "host:port",
            "s3://a/b",
            "*.10.0.0.1",
            "*.1",
            "file:///x",
            "[::1",
            "://x",
        ] {
            assert!(entry.parse::<AllowHosts>().is_err(), "{entry}");
        }
    }
}
