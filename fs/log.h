/* SPDX-License-Identifier: MIT */
/*
 * The daemon's log: stderr in the foreground, syslog (facility daemon) once it is in the background.
 *
 * A line that repeats word for word is written LOG_REPEAT times a minute, and lines of one format LOG_BURST times in
 * a row, then LOG_RATE a second; what is left out is counted and the count written with the next one that gets through, or
 * by log_flush().  One global log for the program: it is what stderr is, and libraries (ledger/) get it as a callback.
 *
 * Threads: any.  Newlines and other control bytes in a line become '?', so that a hostile name cannot forge a line.
 */
#ifndef FS_LOG_H
#define FS_LOG_H

#define LOG_REPEAT 5
#define LOG_BURST 100
#define LOG_RATE 10

/* Until this is called, and with to_syslog 0: stderr, each line with "ledgerfs: " before it. */
void log_target(int to_syslog);

/* One line, no newline at its end, cut at 1,000 bytes. */
void log_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* As ledger_options.log wants it; `arg` is not looked at. */
void log_callback(void *arg, const char *line);

/* Writes how many lines are still left out, if any: before the end. */
void log_flush(void);

#endif
