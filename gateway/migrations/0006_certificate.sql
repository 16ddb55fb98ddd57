-- SHA-256 of the certificate that a console of tls = 'first-use' showed first; NULL until one was met.
ALTER TABLE instance ADD COLUMN tls_seen TEXT;
