//! How it is asked and measured: adapters, load, statistics, reports, the workbench command.
