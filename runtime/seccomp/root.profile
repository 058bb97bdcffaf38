# Root emulation for a user namespace that maps a single id: what needs a second id, or a device, answers 0 and is not
# done. Same syntax as default.profile; what no line names is left to the kernel.
#
# setfsuid and setfsgid are left to the kernel: they return the previous id, have no error, and change nothing when the
# id is not mapped. capset is left to it as well: capabilities are real here.

answer chown fchown fchownat lchown
answer setgroups setregid setresgid setresuid setreuid

# The id -1 stays an error.
answer setgid setuid
when setgid 0 == 0xffffffff : allow
when setuid 0 == 0xffffffff : allow

# Character and block devices only. FIFOs, sockets and regular files can be made, and so can 0:0, a whiteout, which
# needs no privilege (where the file system takes it).
allow mknod mknodat
when mknod 1 / 0xf000 == 0x6000 : answer
when mknod 1 / 0xf000 == 0x2000 & 2 != 0 : answer
when mknodat 2 / 0xf000 == 0x6000 : answer
when mknodat 2 / 0xf000 == 0x2000 & 3 != 0 : answer
