//! `tidegate man` and `tidegate completions`.

use clap::CommandFactory;
use tidegate::flags::Arguments;

use crate::server::run;

fn printed(words: &[&str]) -> String {
    let (status, stdout, stderr) = run(words);
    assert_eq!((status, &*stderr), (0, ""), "{words:?}");
    String::from_utf8(stdout).unwrap()
}

/// Returns the flags of the server as they are typed.
fn flags() -> Vec<String> {
    let command = Arguments::command();
    let names = command.get_arguments().filter_map(|arg| arg.get_long());
    names.map(|name| format!("--{name}")).collect()
}

#[test]
fn the_man_page_has_every_flag_and_every_command() {
    // In roff, a hyphen that is to be one is written with a backslash.
    let page = printed(&["man"]).replace("\\-", "-");
    assert!(page.contains(".TH tidegate 1 "), "{page}");
    let flags = flags();
    let missing: Vec<_> = flags.iter().filter(|flag| !page.contains(*flag)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(
        page.contains("\n    tidegate --root ./public --listen 443"),
        "{page}"
    );
    for command in Arguments::command().get_subcommands() {
        let name = command.get_name();
        let (title, about) = (format!("tidegate-{name}"), command.get_about().unwrap());
        assert!(page.contains(&format!("{title}(1)")), "{page}");
        let own = printed(&["man", name]).replace("\\-", "-");
        assert!(own.contains(&format!(".TH {title} 1 ")), "{own}");
        assert!(own.contains(&about.to_string()), "{own}");
    }
    assert_eq!(run(&["man", "nosuch"]).0, 2);
}

#[test]
fn completions_have_every_flag() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(&["completions", shell]);
        let names = flags();
        let name = |flag: &String| flag.trim_start_matches('-').to_owned();
        let missing: Vec<_> = names
            .iter()
            .filter(|&flag| !script.contains(&name(flag)))
            .collect();
        assert!(missing.is_empty(), "{shell}: {missing:?}");
    }
    assert_eq!(run(&["completions", "nosuch"]).0, 2);
}
