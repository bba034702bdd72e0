//! The SMB2/3 server library: listeners, connections, sessions, a handler per message.
