//! Servers that read the target of a request in different ways. Each stands for the upstreams that
//! choose a path in this way.

/// An upstream's reading of a target: the path that it serves, or `None` if it refuses.
pub type Reader = fn(&str) -> Option<String>;

/// The ways in which servers read a target, each with a name.
pub const READERS: [(&str, Reader); 13] = [
    // Compares the target as it is.
    ("Node, raw", |target| Some(without_query(target).to_owned())),
    // Resolves the target as browsers resolve a reference: `new URL(target, base)`.
    ("Node, by URL", |target| {
        let target = without_query(target).replace('\\', "/");
        let path = match target.strip_prefix("//") {
            Some(other) => other.find('/').map_or("/", |at| &other[at..]),
            None => &target,
        };
        Some(resolve(&path.replace("%2e", ".").replace("%2E", ".")))
    }),
    // http.ServeMux: decodes, cleans.
    ("Go", |target| {
        Some(resolve(&decode(without_query(target))?))
    }),
    // Splits into segments before it decodes, as routers of frameworks do.
    ("Go, by segments", |target| {
        let path = resolve(without_query(target));
        let segments: Option<Vec<String>> = path.split('/').map(decode).collect();
        Some(segments?.join("/"))
    }),
    ("nginx", |target| {
        let path = decode(without_query(target))?;
        (!path.contains('\0')).then(|| resolve(&path))
    }),
    // Drops parameters, then decodes; refuses encoded slashes unless configured otherwise.
    ("Tomcat", |target| {
        let path = without_parameters(without_query(target), |byte| byte == '/');
        let has_encoded_slash = path.to_lowercase().contains("%2f");
        let path = decode(&path)?;
        let refuses = has_encoded_slash || path.contains(['\\', '\0']);
        (!refuses).then(|| resolve(&path))
    }),
    ("Tomcat, which decodes slashes", |target| {
        let path = without_parameters(without_query(target), |byte| byte == '/');
        Some(resolve(&decode(&path)?.replace('\\', "/")))
    }),
    ("Tomcat, which replaces backslashes first", |target| {
        let path = without_query(target).replace('\\', "/");
        let path = without_parameters(&path, |byte| byte == '/');
        Some(resolve(&decode(&path)?))
    }),
    // Decodes, then drops parameters.
    ("Jetty", |target| {
        let path = decode(without_query(target))?;
        Some(resolve(&without_parameters(&path, |byte| byte == '/')))
    }),
    // Decodes, ends at NUL, opens a file.
    ("a program in C", |target| {
        let path = decode(without_query(target))?;
        Some(resolve(path.split('\0').next()?))
    }),
    // Decodes first, and then looks for a query and a fragment.
    ("a program in C that decodes first", |target| {
        let target = decode(target)?.replace('\\', "/");
        Some(resolve(target.split(['\0', '?', '#']).next()?))
    }),
    ("a decoder of UTF-8 that accepts long forms", |target| {
        let path = decode(without_query(target))?;
        let mut path = path;
        for lead in ["\u{c0}", "\u{e0}\u{80}", "\u{f8}\u{80}\u{80}\u{80}"] {
            path = path.replace(&format!("{lead}\u{ae}"), ".");
            path = path.replace(&format!("{lead}\u{af}"), "/");
        }
        Some(resolve(&path))
    }),
    // A server in front of another, both of which decode.
    ("two that decode", |target| {
        let path = decode(&decode(without_query(target))?)?.replace('\\', "/");
        Some(resolve(&without_parameters(&path, |byte| byte == '/')))
    }),
];

/// Returns the part of the target that every server takes for the path.
pub fn without_query(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or(target)
}

/// Decodes percent-encoding. A byte becomes the character with its number: only equality matters
/// here.
fn decode(text: &str) -> Option<String> {
    let mut decoded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let byte = u8::from_str_radix(rest.get(at + 1..at + 3)?, 16).ok()?;
        decoded.push(char::from(byte));
        rest = &rest[at + 3..];
    }
    Some(decoded + rest)
}

/// Drops parameters, which last until a character at which `ends_parameter` holds.
fn without_parameters(path: &str, ends_parameter: impl Fn(char) -> bool) -> String {
    let mut kept = String::new();
    let mut is_parameter = false;
    for character in path.chars() {
        is_parameter = !ends_parameter(character) && (is_parameter || character == ';');
        if !is_parameter {
            kept.push(character);
        }
    }
    kept
}

/// Merges adjacent slashes and follows dot segments.
fn resolve(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Returns the longest of the routes that cover a path.
pub fn route_of<'r>(routes: &[&'r str], path: &str) -> &'r str {
    let covers = |route: &&str| {
        let rest = path.strip_prefix(route.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let covering = routes.iter().copied().filter(covers);
    covering.max_by_key(|route| route.len()).unwrap_or("/")
}
