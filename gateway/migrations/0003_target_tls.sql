-- TLS on the way to the console: 'ca', 'pin' or 'insecure'; NULL for none.
ALTER TABLE instance ADD COLUMN tls TEXT;
-- SHA-256 of the certificate that 'pin' is about.
ALTER TABLE instance ADD COLUMN tls_pin TEXT;
-- NULL for the host's name.
ALTER TABLE instance ADD COLUMN tls_server_name TEXT;
-- 'connect' or 'protocol'; NULL for what is usual.
ALTER TABLE instance ADD COLUMN tls_start TEXT;
