// SPDX-License-Identifier: GPL-2.0-only
//! `cargo run -p xtask -- dist DIR` writes the man pages and shell completions of a package. Their source is
//! the clap definitions of the commands and, for the scripts, the scripts' own `--help`:
//!
//! ```text
//! DIR/man/COMMAND.8   DIR/bash/COMMAND   DIR/zsh/_COMMAND   DIR/fish/COMMAND.fish
//! ```
//!
//! `cargo run -p xtask -- readme README.md` writes the table of the commands anew.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use cpumap_pping::commands::{CommandEntry, COMMANDS};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The section of system administration commands.
const SECTION: &str = "8";

/// The shell scripts and the line of their manual page that `apropos` shows.
const SCRIPTS: [(&str, &str); 3] = [
    ("xps_setup.sh", "set, disable or list the transmit packet steering of a network device"),
    ("set_irq_affinity_with_rss_conf.sh", "put a device's receive interrupts on chosen CPUs"),
    ("tc_mq_htb_setup_example.sh", "build an example shaper: mq with one HTB per transmit queue"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [task, path] = arguments.as_slice() else {
        return usage();
    };
    let done = match task.as_str() {
        "dist" => dist(Path::new(path)),
        "readme" => write_readme(Path::new(path)),
        _ => return usage(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ERR: xtask {task} {path}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("Usage: xtask dist DIR | xtask readme FILE");
    ExitCode::from(2)
}

/// The lines around the README's table of commands.
const TABLE_BEGIN: &str = "<!-- commands: written by make readme -->\n";
const TABLE_END: &str = "<!-- end of commands -->\n";

fn write_readme(path: &Path) -> Result<()> {
    let text = fs::read_to_string(path)?;
    Ok(fs::write(path, with_command_table(&text)?)?)
}

/// Returns the README's text with a table made of the list of commands.
fn with_command_table(text: &str) -> Result<String> {
    let (before, rest) = text.split_once(TABLE_BEGIN).ok_or("no line that begins the table")?;
    let (_, after) = rest.split_once(TABLE_END).ok_or("no line that ends the table")?;
    let mut table = String::from("| command | does |\n|---|---|\n");
    for CommandEntry { name, summary, .. } in COMMANDS {
        table.push_str(&format!("| `{name}` | {summary} |\n"));
    }
    for (script, summary) in SCRIPTS {
        table.push_str(&format!("| `{script}` | {summary} |\n"));
    }
    Ok([before, TABLE_BEGIN, &table, TABLE_END, after].concat())
}

fn dist(directory: &Path) -> Result<()> {
    let man = fresh_directory(directory.join("man"))?;
    for CommandEntry { name, definition, .. } in COMMANDS {
        let mut command = definition();
        command.build();
        write_manual(command, name, &man)?;
    }
    for (script, summary) in SCRIPTS {
        fs::write(man.join(format!("{script}.{SECTION}")), script_manual(script, summary)?)?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let target = fresh_directory(directory.join(shell.to_string()))?;
        for CommandEntry { name, definition, .. } in COMMANDS {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut definition(), name, &mut script);
            fs::write(target.join(completion_file(shell, name)), script)?;
        }
    }
    Ok(())
}

/// Makes an empty directory. An existing one is removed first, so that pages of former commands are not
/// shipped.
fn fresh_directory(path: PathBuf) -> Result<PathBuf> {
    if path.exists() {
        fs::remove_dir_all(&path)?;
    }
    fs::create_dir_all(&path)?;
    Ok(path)
}

/// Writes one page for the command and one for each of its subcommands, as `git-log(1)` is for `git log`.
fn write_manual(command: Command, name: &str, directory: &Path) -> Result<()> {
    for subcommand in command.get_subcommands().filter(|c| c.get_name() != "help") {
        let full_name = format!("{name}-{}", subcommand.get_name());
        write_manual(subcommand.clone(), &full_name, directory)?;
    }
    fs::write(directory.join(format!("{name}.{SECTION}")), manual(command)?)?;
    Ok(())
}

/// Renders the page of a command as `Man::render` does, except that the notes keep their line breaks: they
/// contain examples and tables.
fn manual(command: Command) -> Result<Vec<u8>> {
    let notes = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
    let has_subcommands = command.has_subcommands();
    let man = Man::new(command).section(SECTION).source(source()).manual("cpumap-pping");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_subcommands {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(notes) = notes {
        write!(page, ".SH NOTES\n.nf\n{}\n.fi\n", escape(notes.trim_end()))?;
    }
    Ok(page)
}

/// Returns the name and version of the package, from its Cargo.toml; xtask has a version of its own.
fn source() -> String {
    let manifest = include_str!("../../../Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = "));
    format!("cpumap-pping {}", version.unwrap_or_default().trim_matches('"'))
}

/// Renders the page of a script, which shows the text of the script's `--help` unchanged.
fn script_manual(script: &str, summary: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/scripts").join(script);
    let output = Process::new(&path).arg("-h").output()?;
    if !output.status.success() {
        return Err(format!("{} -h: {}", path.display(), output.status).into());
    }
    let help = String::from_utf8(output.stdout)?;
    let (synopsis, text) = help.split_once("\n\n").ok_or("the help text has no empty line")?;
    let synopsis = synopsis.trim_start_matches("Usage: ");
    Ok(format!(
        ".TH {title} {SECTION} \"\" \"{source}\" \"cpumap-pping\"\n\
         .SH NAME\n{script} \\- {summary}\n\
         .SH SYNOPSIS\n.nf\n{synopsis}\n.fi\n\
         .SH DESCRIPTION\n.nf\n{text}\n.fi\n\
         .SH SEE ALSO\n.BR xdp_iphash_to_cpu ({SECTION}),\n.BR tc_classify ({SECTION}),\n.BR tc ({SECTION})\n",
        title = escape(script),
        source = source(),
        script = escape(script),
        synopsis = escape(synopsis),
        text = escape(text.trim_end()),
    ))
}

/// Escapes text for roff: control characters at the start of a line, and `-`, which would be a hyphen
/// instead of a minus.
fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = escaped.lines().map(|line| match line.chars().next() {
        Some('.' | '\'') => format!("\\&{line}"),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the file name by which a shell finds the completion of a command.
fn completion_file(shell: Shell, name: &str) -> String {
    match shell {
        Shell::Zsh => format!("_{name}"),
        Shell::Fish => format!("{name}.fish"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roff_control_characters_are_escaped() {
        assert_eq!(escape(".TH\n'x\na\\b --c"), "\\&.TH\n\\&'x\na\\eb \\-\\-c");
    }

    #[test]
    fn notes_keep_their_lines() {
        let command = Command::new("x").about("X").after_help("Examples:\n  x --a\n  x --b");
        let page = String::from_utf8(manual(command).expect("manual")).expect("text");
        assert!(page.contains(".nf\nExamples:\n  x \\-\\-a\n  x \\-\\-b\n.fi\n"), "{page}");
    }

    #[test]
    fn every_script_has_a_manual() {
        for (script, summary) in SCRIPTS {
            let page = script_manual(script, summary).expect(script);
            assert!(page.contains(".SH SYNOPSIS\n.nf\n"), "{page}");
            assert!(page.contains(&escape(script)), "{page}");
        }
    }

    #[test]
    fn the_readme_lists_every_command() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
        let text = fs::read_to_string(path).expect("README.md");
        let written = with_command_table(&text).expect("a table of commands");
        assert!(text == written, "the README's table is not current: make readme");
    }

    #[test]
    fn every_command_has_a_manual_and_completions() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        dist(directory.path()).expect("dist");
        for CommandEntry { name, .. } in COMMANDS {
            for file in [
                format!("man/{name}.8"),
                format!("bash/{name}"),
                format!("zsh/_{name}"),
                format!("fish/{name}.fish"),
            ] {
                let size = fs::metadata(directory.path().join(&file)).expect(&file).len();
                assert!(size > 100, "{file} has {size} bytes");
            }
        }
    }
}
