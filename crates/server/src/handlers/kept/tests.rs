use std::time::SystemTime;

use super::super::look::{Looked, MEDIUM, look};
use super::super::lookup::{Refusal, Root};
use super::*;
use std::fs;

fn clock() -> Clock {
    // Far enough ahead that the files of the tests are settled.
    Clock::new(SystemTime::now() + Duration::from_secs(60))
}

/// Remembers a file as an answer does.
fn learn(kept: &mut Kept, root: &Root, path: &str) {
    let (spot, content) = match look(root, path.as_bytes(), Pace::Patient) {
        Ok(Looked::Medium(spot, content)) => (spot, kept.hold(content).unwrap()),
        _ => panic!("{path} isn't there"),
    };
    kept.remember(Known::new(path.as_bytes(), spot, Some(content), &clock()));
}

/// Begins a turn without time in between.
fn turn(kept: &mut Kept) {
    kept.turn(kept.now);
}

fn is_fresh(kept: &mut Kept, root: &Root, path: &str) -> bool {
    let memory = kept.memory(root.number(), path.as_bytes(), clock().second());
    matches!(memory, Memory::Fresh(_))
}

/// Whether a path is fresh. A path that isn't is remembered again, because the kernel doesn't
/// follow links from its caches while any program renames something.
fn becomes_fresh(kept: &mut Kept, root: &Root, path: &str) -> bool {
    (0..100_000).any(|_| {
        let fresh = is_fresh(kept, root, path);
        if !fresh {
            learn(kept, root, path);
            turn(kept);
        }
        fresh
    })
}

fn root(names: &[&str], size: usize) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        fs::write(dir.path().join(name), vec![b'x'; size]).unwrap();
    }
    let root = Root::new(dir.path()).unwrap();
    (dir, root)
}

#[test]
fn what_changed_is_forgotten_in_the_next_turn() {
    let (dir, root) = root(&["a"], 10);
    let mut kept = Kept::new(Duration::ZERO, Instant::now());
    learn(&mut kept, &root, "/a");
    assert!(is_fresh(&mut kept, &root, "/a"));
    turn(&mut kept);
    assert!(is_fresh(&mut kept, &root, "/a"), "unchanged");
    fs::write(dir.path().join("a"), "longer than it was").unwrap();
    assert!(is_fresh(&mut kept, &root, "/a"), "the same turn");
    turn(&mut kept);
    assert!(!is_fresh(&mut kept, &root, "/a"), "the next turn");
    assert_eq!(kept.bytes, 0);
    learn(&mut kept, &root, "/a");
    fs::remove_file(dir.path().join("a")).unwrap();
    turn(&mut kept);
    assert!(!is_fresh(&mut kept, &root, "/a"), "gone");
}

#[test]
fn what_changed_is_noticed_once_it_is_time_to_check() {
    let (dir, root) = root(&["a"], 10);
    let start = Instant::now();
    let after = |millis| start + Duration::from_millis(millis);
    let mut kept = Kept::new(Duration::from_secs(1), start);
    learn(&mut kept, &root, "/a");
    kept.turn(after(700));
    assert!(is_fresh(&mut kept, &root, "/a"));
    kept.turn(after(1000));
    assert!(is_fresh(&mut kept, &root, "/a"), "compared, and unchanged");
    fs::write(dir.path().join("a"), "longer than it was").unwrap();
    kept.turn(after(1999));
    assert!(is_fresh(&mut kept, &root, "/a"), "not compared yet");
    kept.turn(after(2000));
    assert!(!is_fresh(&mut kept, &root, "/a"));
    assert_eq!(kept.bytes, 0);
}

#[test]
fn a_description_is_compared_each_turn() {
    let (dir, root) = root(&["a"], 10);
    let mut kept = Kept::new(Duration::from_secs(1), Instant::now());
    let Ok(Looked::Medium(spot, _)) = look(&root, b"/a", Pace::Patient) else {
        panic!("it isn't there");
    };
    kept.remember(Known::new(b"/a", spot, None, &clock()));
    turn(&mut kept);
    assert!(is_fresh(&mut kept, &root, "/a"));
    fs::write(dir.path().join("a"), "longer than it was").unwrap();
    turn(&mut kept);
    assert!(!is_fresh(&mut kept, &root, "/a"));
}

#[test]
fn what_responses_hold_of_forgotten_files_is_bounded() {
    let medium = MEDIUM as usize;
    let kept = Kept::new(Duration::ZERO, Instant::now());
    let mut held = Vec::new();
    while let Some(content) = kept.hold(vec![0; medium].into()) {
        held.push(content);
        assert!(held.len() * medium <= FORGOTTEN_BYTES + medium);
    }
    assert!(held.len() * medium > FORGOTTEN_BYTES);
    assert!(kept.hold(vec![0; SMALL as usize].into()).is_some());
    held.truncate(held.len() - 2);
    assert!(kept.hold(vec![0; medium].into()).is_some());
}

#[test]
fn another_root_has_another_file_at_the_same_path() {
    let (dir, root) = root(&["a"], 10);
    let mut kept = Kept::new(Duration::from_secs(1), Instant::now());
    learn(&mut kept, &root, "/a");
    let other = Root::new(dir.path()).unwrap();
    assert!(is_fresh(&mut kept, &root.clone(), "/a"));
    assert!(!is_fresh(&mut kept, &other, "/a"));
    learn(&mut kept, &other, "/a");
    assert!(is_fresh(&mut kept, &root, "/a") && is_fresh(&mut kept, &other, "/a"));
}

#[test]
fn a_file_that_was_just_written_is_read_anew_each_turn() {
    let (_dir, root) = root(&["a"], 10);
    let mut kept = Kept::new(Duration::ZERO, Instant::now());
    learn(&mut kept, &root, "/a");
    let (first, second) = places(root.number(), b"/a");
    let place = if kept.slots[first].is_some() {
        first
    } else {
        second
    };
    kept.slots[place].as_mut().unwrap().settled = false;
    assert!(is_fresh(&mut kept, &root, "/a"));
    turn(&mut kept);
    assert!(!is_fresh(&mut kept, &root, "/a"));
}

#[test]
fn a_link_that_moves_on_is_followed() {
    let (dir, root) = root(&["a", "b"], 10);
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("a", &link).unwrap();
    let mut kept = Kept::new(Duration::ZERO, Instant::now());
    learn(&mut kept, &root, "/link");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("b", &link).unwrap();
    turn(&mut kept);
    assert!(!is_fresh(&mut kept, &root, "/link"));
}

#[test]
fn a_directory_that_is_moved_away_takes_its_files_along() {
    let (dir, root) = root(&["a"], 10);
    let outside = tempfile::tempdir().unwrap();
    let inner = dir.path().join("inner");
    fs::create_dir_all(inner.join("most")).unwrap();
    fs::write(inner.join("most/p"), "inside").unwrap();
    std::os::unix::fs::symlink("inner/most/p", dir.path().join("link")).unwrap();
    let mut kept = Kept::new(Duration::ZERO, Instant::now());
    for path in ["/inner/most/p", "/link"] {
        learn(&mut kept, &root, path);
    }
    turn(&mut kept);
    for path in ["/inner/most/p", "/link"] {
        assert!(becomes_fresh(&mut kept, &root, path), "{path}");
    }
    fs::rename(&inner, outside.path().join("inner")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("inner"), &inner).unwrap();
    turn(&mut kept);
    for path in ["/inner/most/p", "/link"] {
        assert!(!is_fresh(&mut kept, &root, path), "{path}");
        let looked = look(&root, path.as_bytes(), Pace::Patient);
        assert!(matches!(looked, Err(Refusal::NotFound)), "{path}");
    }
}

#[test]
fn nobody_far_away_is_asked_each_turn() {
    let (_dir, root) = root(&["a"], 10);
    let root = root.made_remote();
    let mut kept = Kept::new(Duration::ZERO, Instant::now());
    learn(&mut kept, &root, "/a");
    let now = clock().second();
    let mut at = |second: u64| {
        turn(&mut kept);
        kept.memory(root.number(), b"/a", second)
    };
    assert!(matches!(at(now + FRESH), Memory::Fresh(_)));
    assert!(matches!(at(now + FRESH + 1), Memory::Ageing(_)));
    assert!(matches!(at(now + STALE), Memory::Ageing(_)));
    assert_eq!(at(now + STALE + 1), Memory::Stale);
    assert_eq!(at(now), Memory::Stale, "forgotten");
}

#[test]
fn memory_is_bounded() {
    let names: Vec<String> = (0..SLOTS / 4).map(|n| format!("file-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (_dir, root) = root(&names, SMALL as usize);
    let mut kept = Kept::new(Duration::ZERO, Instant::now());
    for name in &names {
        learn(&mut kept, &root, &format!("/{name}"));
        assert!(kept.bytes <= KEPT_BYTES);
        assert!(
            is_fresh(&mut kept, &root, &format!("/{name}")),
            "the newest stays"
        );
    }
    let kept = kept.slots.iter().flatten().count();
    assert!(kept >= KEPT_BYTES / SMALL as usize / 2, "only {kept} kept");
}

#[test]
fn paths_spread_over_the_places() {
    let mut used = std::collections::HashSet::new();
    for n in 0..SLOTS {
        let (place, other) = places(0, format!("/static/images/{n}.png").as_bytes());
        assert!(place < SLOTS && other < SLOTS && place != other);
        used.insert(place);
    }
    // A random spread fills 63 % of the places.
    assert!(used.len() > SLOTS / 2, "{}", used.len());
}
