-- Nobody asks for the sessions of a broker, and each session paid for it.
DROP INDEX session_broker;
