//! `oyez completions` and `oyez man`: completion scripts and manual pages, made from the definition of the command
//! line.

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

/// Arguments of `oyez completions`.
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS)]
pub(crate) struct Completions {
    /// Shell that the script is for
    #[arg(value_enum)]
    shell: Shell,
}

/// Arguments of `oyez man`.
#[derive(Debug, Args)]
#[command(after_help = MAN)]
pub(crate) struct Pages {
    /// Write a page for each command into this directory, instead of printing the page of `oyez`
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the completion script of `command`.
pub(crate) fn complete(mut command: Command, arguments: &Completions) -> Result<(), Failure> {
    let (name, mut script) = (command.get_name().to_owned(), Vec::new());
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    print(&script)
}

/// Prints the page of `command`, or writes a page for it and each of its subcommands.
pub(crate) fn explain(command: Command, arguments: &Pages) -> Result<(), Failure> {
    let mut command = command.disable_help_subcommand(true);
    // Building copies global options into each command, and gives each its whole name.
    command.build();
    let Some(dir) = &arguments.dir else {
        return print(&page(command)?);
    };
    let failed = |error| Failure::io(&format!("cannot write to {}", dir.display()), &error);
    fs::create_dir_all(dir).map_err(failed)?;
    write_pages(command, dir)
}

/// Writes a page for a command and for its subcommands, under their whole names.
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
