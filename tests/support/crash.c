// Kills its process before the call with a certain number, of those by which what is on the disk changes or becomes durable. Loaded by
// LD_PRELOAD. CRASH_FILE names a file with the number; calls are counted once it exists. The first call has number 1.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_long fatal;
static atomic_long count;

static void step(void) {
  long number = atomic_load(&fatal);
  if (number == 0) {
    const char *file = getenv("CRASH_FILE");
    FILE *open_file = file == NULL ? NULL : fopen(file, "r");
    if (open_file == NULL) return;
    if (fscanf(open_file, "%ld", &number) != 1) number = 0;
    fclose(open_file);
    if (number == 0) return;
    atomic_store(&fatal, number);
  }
  if (atomic_fetch_add(&count, 1) + 1 == number) kill(getpid(), SIGKILL);
}

#define STEP(type, name, parameters, arguments)                   \
  type name parameters {                                          \
    static type(*next) parameters;                                \
    if (next == NULL) next = (type(*) parameters)dlsym(RTLD_NEXT, #name); \
    step();                                                       \
    return next arguments;                                        \
  }

STEP(int, fsync, (int file), (file))
STEP(int, fdatasync, (int file), (file))
STEP(int, rename, (const char *from, const char *to), (from, to))
STEP(int, renameat, (int from_dir, const char *from, int to_dir, const char *to), (from_dir, from, to_dir, to))
STEP(int, link, (const char *from, const char *to), (from, to))
STEP(int, linkat, (int from_dir, const char *from, int to_dir, const char *to, int flags), (from_dir, from, to_dir, to, flags))
STEP(int, unlink, (const char *path), (path))
STEP(int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags))
STEP(int, rmdir, (const char *path), (path))
STEP(int, mkdir, (const char *path, mode_t mode), (path, mode))
STEP(int, ftruncate64, (int file, off_t bytes), (file, bytes))
