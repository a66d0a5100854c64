//! The services, without a socket, in front of a real engine.
