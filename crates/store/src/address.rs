//! The address of a database, and the options for opening it.

/// Options for opening a database.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The most connections that the process may hold; zero selects the implementation's default.
    pub connections_max: u32,
}

/// `url` for logs and messages: the password, in front of the host or in `password=`, is masked.
pub fn redacted(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (place, query) = rest.split_once('?').map_or((rest, None), |(p, q)| (p, Some(q)));
    let mut out = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    match place.rsplit_once('@') {
        Some((user, host)) => {
            out.push_str(user.split(':').next().unwrap_or_default());
            out.push_str(if user.contains(':') { ":***@" } else { "@" });
            out.push_str(host);
        }
        None => out.push_str(place),
    }
    if let Some(query) = query {
        let shown: Vec<String> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((key, _)) if key.eq_ignore_ascii_case("password") => format!("{key}=***"),
                _ => pair.to_owned(),
            })
            .collect();
        out.push('?');
        out.push_str(&shown.join("&"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(redacted("postgres://u:s3cret@h/db"), "postgres://u:***@h/db");
        assert_eq!(redacted("postgres://u:p@ss:w@h/db?a=b"), "postgres://u:***@h/db?a=b");
        assert_eq!(
            redacted("postgres:///db?host=/run&password=s3cret&user=u"),
            "postgres:///db?host=/run&password=***&user=u"
        );
        assert_eq!(redacted("sqlite:data.db"), "sqlite:data.db");
    }
}
