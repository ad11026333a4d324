//! What is asked of an engine, never how it is answered: operations, popularity, member model, file formats.
