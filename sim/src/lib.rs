//! A seeded simulator of several owners, edges and clients.
