use std::io::Read;
use std::os::unix::fs::symlink;

use super::*;

/// ```text
/// secret
/// root/index.html  root/a b  root/.hidden  root/sub/page.html  root/empty/
/// root/out → ../secret   root/outdir → ..   root/in → sub/page.html   root/loop → loop
/// root/abs → /…/root/a b
/// ```
fn tree() -> (tempfile::TempDir, Root) {
    let (dir, [root, _]) = trees();
    (dir, root)
}

/// Returns the same root with each of the means.
fn trees() -> (tempfile::TempDir, [Root; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    for name in [
        "index.html",
        "a b",
        ".hidden",
        "sub/page.html",
        "sub/.hidden",
    ] {
        fs::write(root.join(name), name).unwrap();
    }
    symlink("../secret", root.join("out")).unwrap();
    symlink("..", root.join("outdir")).unwrap();
    symlink("sub/page.html", root.join("in")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink(root.join("a b"), root.join("abs")).unwrap();
    let root = Root::new(&root).unwrap();
    let walked = Root {
        means: Means::Walk,
        ..root.clone()
    };
    (dir, [root, walked])
}

fn find(root: &Root, path: &str) -> Result<Found, Refusal> {
    root.find(path.as_bytes(), Pace::Patient)
}

fn read(root: &Root, path: &str) -> String {
    match find(root, path) {
        Ok(Found::File(mut located)) => {
            let mut text = String::new();
            located.file.read_to_string(&mut text).unwrap();
            text
        }
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn finds_files() {
    let (_dir, roots) = trees();
    for root in &roots {
        assert_eq!(read(root, "/"), "index.html");
        assert_eq!(read(root, "/index.html"), "index.html");
        assert_eq!(read(root, "/a%20b"), "a b");
        assert_eq!(read(root, "/%61 b"), "a b");
        assert_eq!(read(root, "/sub/page.html"), "sub/page.html");
        assert_eq!(read(root, "/sub/page%2ehtml"), "sub/page.html");
    }
}

#[test]
fn well_known_files_are_not_hidden() {
    let (dir, roots) = trees();
    for root in &roots {
        let known = dir.path().join("root/.well-known");
        fs::create_dir_all(&known).unwrap();
        fs::create_dir_all(dir.path().join("root/sub/.well-known")).unwrap();
        for path in [
            ".well-known/token",
            ".well-known/.hidden",
            "sub/.well-known/token",
        ] {
            fs::write(dir.path().join("root").join(path), "proof").unwrap();
        }
        assert_eq!(read(root, "/.well-known/token"), "proof");
        assert_eq!(read(root, "/%2ewell-known/token"), "proof");
        for path in [
            "/.well-known/.hidden",
            "/.well-known/../.hidden",
            "/.well-known/..%2f.hidden",
            "/sub/.well-known/token",
            "/.well-knownx",
            "/.WELL-KNOWN/token",
        ] {
            let found = find(root, path);
            assert!(matches!(found, Err(Refusal::NotFound)), "{path}");
        }
    }
}

#[test]
fn when_a_file_is_settled() {
    let identity = |modified, changed| Identity {
        device: 1,
        inode: 2,
        length: 3,
        modified: (modified, 0),
        changed: (changed, 0),
    };
    assert!(identity(1, 1000).is_settled(1003));
    assert!(!identity(1, 1000).is_settled(1002));
    assert!(!identity(1000, 1).is_settled(1002));
    assert!(identity(2000, 1000).is_settled(1003), "from the future");
    assert!(
        !identity(1, 2000).is_settled(1003),
        "the clock was set back"
    );
    // Two versions as reproducible builds make them: one length, one time.
    let fingerprint = |identity: Identity| identity.fingerprint();
    assert_eq!(fingerprint(identity(1, 5)), fingerprint(identity(1, 5)));
    assert_ne!(fingerprint(identity(1, 5)), fingerprint(identity(1, 6)));
    let beside = Identity {
        inode: 4,
        ..identity(1, 5)
    };
    assert_ne!(fingerprint(identity(1, 5)), fingerprint(beside));
}

#[test]
fn symbolic_links_that_stay_inside_are_followed() {
    let (_dir, roots) = trees();
    for root in &roots {
        assert_eq!(read(root, "/in"), "sub/page.html");
        assert_eq!(read(root, "/abs"), "a b");
    }
}

#[test]
fn the_root_may_be_a_link_that_moves_on() {
    let (dir, _) = tree();
    let current = dir.path().join("current");
    symlink("root", &current).unwrap();
    let root = Root::new(&current).unwrap();
    assert_eq!(read(&root, "/in"), "sub/page.html");
    fs::remove_file(&current).unwrap();
    symlink("root/sub", &current).unwrap();
    assert_eq!(read(&root, "/page.html"), "sub/page.html");
}

#[test]
fn directories_need_their_slash() {
    let (_dir, roots) = trees();
    for root in &roots {
        for path in ["", "/sub", "/empty"] {
            assert!(matches!(find(root, path), Ok(Found::Directory)), "{path}");
        }
        for path in ["/sub/", "/empty/", "/index.html/", "/sub/page.html/"] {
            assert!(matches!(find(root, path), Err(Refusal::NotFound)), "{path}");
        }
    }
}

#[test]
fn there_is_no_way_out_and_nothing_hidden() {
    let (dir, roots) = trees();
    for root in &roots {
        let absolute = format!("/{}", dir.path().join("secret").display());
        let encoded = format!("/{}", dir.path().join("secret").display()).replace('/', "%2f");
        for path in [
            "/../secret",
            "/sub/../../secret",
            "/sub/../index.html",
            "/./index.html",
            "/%2e%2e/secret",
            "/%2E%2E/secret",
            "/.%2e/secret",
            "/..%2fsecret",
            "/%2e%2e%2fsecret",
            "/sub%2fpage.html",
            "/sub/..%2f..%2fsecret",
            "/%252e%252e/secret",
            "/..\\secret",
            "/..%5csecret",
            "/%c0%ae%c0%ae/secret",
            "/index.html%00",
            "/%00",
            "/in%00.txt",
            "//",
            "//index.html",
            "/sub//page.html",
            "/out",
            "/outdir/secret",
            "/outdir/",
            "/outdir",
            "/outdir/root/index.html/",
            "/loop",
            "/.hidden",
            "/%2ehidden",
            "/sub/.hidden",
            "/...",
            "/.",
            "/..",
            "/../",
            "index.html",
            "*",
            &absolute,
            &encoded,
            &format!("/{}", "a".repeat(5000)),
            &"/a".repeat(5000),
        ] {
            assert!(matches!(find(root, path), Err(Refusal::NotFound)), "{path}");
        }
        // `outdir/root` leads out and in again; the file is inside, so it may be served.
        assert_eq!(read(root, "/outdir/root/index.html"), "index.html");
    }
}

#[test]
fn only_regular_files_and_nothing_waits() {
    let (dir, roots) = trees();
    let fifo = dir.path().join("root/fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let socket = dir.path().join("root/socket");
    let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for root in &roots {
        for path in ["/fifo", "/socket", "/fifo/", "/fifo/x"] {
            let found = find(root, path);
            assert!(matches!(found, Err(Refusal::NotFound)), "{path} {found:?}");
        }
    }
}

#[test]
fn what_is_in_memory_is_found_at_once() {
    let (_dir, [root, walked]) = trees();
    if root.means() == Means::Walk {
        return;
    }
    for path in ["/sub/page.html", "/in"] {
        read(&root, path);
        let found = root.find(path.as_bytes(), Pace::AtOnce);
        assert!(
            matches!(found, Ok(Found::File(_)) | Err(Refusal::WouldBlock)),
            "{found:?}"
        );
        let found = walked.find(path.as_bytes(), Pace::AtOnce);
        assert!(matches!(found, Err(Refusal::WouldBlock)), "{found:?}");
    }
}

#[test]
fn links_are_told() {
    let (_dir, roots) = trees();
    for root in &roots {
        for (path, links) in [
            ("/sub/page.html", Links::None),
            ("/in", Links::Followed),
            ("/abs", Links::Followed),
            ("/outdir/root/sub/page.html", Links::Followed),
        ] {
            let Ok(Found::File(located)) = find(root, path) else {
                panic!("{path}");
            };
            assert_eq!(located.links, links, "{path}");
        }
    }
}

/// A thread replaces a directory by a link, again and again, while files below it are
/// requested.
#[test]
fn a_race_of_links_never_leads_out() {
    let (dir, roots) = trees();
    let root = dir.path().join("root");
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("page.html"), "secret").unwrap();
    symlink(&outside, root.join("swap")).unwrap();
    let swap = || {
        let (a, b) = (root.join("sub"), root.join("swap"));
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(rustix::fs::CWD, a, rustix::fs::CWD, b, flags).unwrap();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| (0..20_000).for_each(|_| swap()));
        for _ in 0..2000 {
            for root in &roots {
                match find(root, "/sub/page.html") {
                    Ok(Found::File(mut located)) => {
                        let mut text = String::new();
                        located.file.read_to_string(&mut text).unwrap();
                        assert_eq!(text, "sub/page.html");
                    }
                    Err(Refusal::NotFound | Refusal::WouldBlock) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    });
}

#[test]
fn a_root_must_be_a_directory() {
    let (dir, _) = tree();
    assert!(Root::new(&dir.path().join("secret")).is_err());
    assert!(Root::new(&dir.path().join("missing")).is_err());
}

#[test]
fn both_ways_to_an_identity_agree() {
    let (dir, root) = tree();
    let at = |name: &str| {
        let path = dir.path().join("root").join(name);
        let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
        Identity::at(&path).unwrap()
    };
    let Ok(Found::File(located)) = find(&root, "/sub/page.html") else {
        panic!("it is there");
    };
    assert_eq!(at("sub/page.html"), located.identity);
    assert_ne!(at("in"), located.identity, "a link isn't its file");
}

#[test]
fn identities_follow_the_content() {
    let (dir, root) = tree();
    let identity = |path: &str| match find(&root, path) {
        Ok(Found::File(located)) => located.identity,
        other => panic!("{other:?}"),
    };
    let before = identity("/in");
    assert_eq!(identity("/sub/page.html"), before);
    fs::write(dir.path().join("root/sub/page.html"), "more than there was").unwrap();
    assert_ne!(identity("/in"), before);
}
