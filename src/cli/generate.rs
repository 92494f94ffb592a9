//! `lockstep generate`: what packages install beside the program.

use super::commands::Cli;
use anyhow::{Context, Result};
use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;
use std::fs;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct GenerateArgs {
    #[command(subcommand)]
    pub command: GenerateCommand,
}

#[derive(Debug, Subcommand)]
pub enum GenerateCommand {
    /// Print what a shell needs to complete this program's arguments
    Completions { shell: Shell },
    /// Write a manual page for each command into a folder
    Man { folder: PathBuf },
}

pub async fn generate(args: GenerateArgs) -> Result<()> {
    let mut cli = Cli::command();
    match args.command {
        GenerateCommand::Completions { shell } => {
            clap_complete::generate(shell, &mut cli, "lockstep", &mut std::io::stdout());
            Ok(())
        }
        GenerateCommand::Man { folder } => {
            fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            clap_mangen::generate_to(cli, &folder).with_context(|| folder.display().to_string())
        }
    }
}
