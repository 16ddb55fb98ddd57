-- Where a console is on the gateway's own machine, and then at no host and port: a Unix socket, by its path under
-- targets.unix_root,
ALTER TABLE instance ADD COLUMN graphics_path TEXT;
-- or a command of terminals.commands, with a JSON array of its arguments.
ALTER TABLE instance ADD COLUMN graphics_command TEXT;
ALTER TABLE instance ADD COLUMN graphics_arguments TEXT;
