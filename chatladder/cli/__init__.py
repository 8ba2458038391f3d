"""The console command, one module or folder for each subcommand."""
