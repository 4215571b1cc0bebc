//! `oyez completions` and `oyez man`: what shells and `man` know about the command line, made from its definition.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::failure::Failure;
use crate::output::print;

const COMPLETIONS: &str = "\
Examples:
  oyez completions bash > ~/.local/share/bash-completion/completions/oyez
  oyez completions zsh > ~/.zfunc/_oyez           with fpath=(~/.zfunc $fpath) before compinit
  oyez completions fish > ~/.config/fish/completions/oyez.fish";

const MAN: &str = "\
Examples:
  oyez man | man -l -
  oyez man --dir ~/.local/share/man/man1           then: man oyez-sub";

/// What `oyez completions` is told.
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS)]
pub(crate) struct Completions {
    /// The shell that they are for
    #[arg(value_enum)]
    shell: Shell,
}

/// What `oyez man` is told.
#[derive(Debug, Args)]
#[command(after_help = MAN)]
pub(crate) struct Pages {
    /// Write a page for each command into this directory, instead of that of `oyez` to standard output
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints completions of `command`.
pub(crate) fn complete(mut command: Command, arguments: &Completions) -> Result<(), Failure> {
    let (name, mut script) = (command.get_name().to_owned(), Vec::new());
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    print(&script)
}

/// Prints the page of `command`, or writes one for it and for each of its own commands.
pub(crate) fn explain(command: Command, arguments: &Pages) -> Result<(), Failure> {
    let mut command = command.disable_help_subcommand(true);
    // Global options become those of each command, and each learns its whole name.
    command.build();
    let Some(dir) = &arguments.dir else {
        return print(&page(command)?);
    };
    let failed = |error| Failure::io(&format!("cannot write to {}", dir.display()), &error);
    fs::create_dir_all(dir).map_err(failed)?;
    write_pages(command, dir)
}

/// Writes a page for a command, and for those below it, under their whole names.
fn write_pages(command: Command, dir: &Path) -> Result<(), Failure> {
    let mut open = vec![command];
    while let Some(command) = open.pop() {
        open.extend(command.get_subcommands().cloned());
        let name = command
            .get_display_name()
            .unwrap_or_else(|| command.get_name());
        let path = dir.join(format!("{name}.1"));
        let failed = |error| Failure::io(&format!("cannot write {}", path.display()), &error);
        fs::write(&path, page(command.clone())?).map_err(failed)?;
    }
    Ok(())
}

fn page(command: Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    let rendered = Man::new(command).render(&mut page);
    rendered.map_err(|error| Failure::io("cannot make the page", &error))?;
    Ok(page)
}
