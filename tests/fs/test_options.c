/* SPDX-License-Identifier: MIT */
#include "options.h"
#include "unit.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/ledgerfs-options-XXXXXX"; /* the current directory; has repo/, mnt/, file, repo/mnt */
static struct fs_options o;
static char err[256];

/* Parses a command line that is given as words separated by blanks. */
static int parse(const char *line)
{
	char copy[512], *argv[32] = {"ledgerfs"}, *rest = copy;
	int argc = 1, rc;

	fs_options_release(&o);
	snprintf(copy, sizeof(copy), "%s", line);
	while ((argv[argc] = strsep(&rest, " ")))
		argc++;
	err[0] = '\0';
	memset(&o, 0x5a, sizeof(o));
	rc = fs_options_parse(&o, argc, argv, err, sizeof(err));
	if (rc) {
		assert_int_equal(((unsigned char *)&o)[0], 0x5a); /* untouched */
		memset(&o, 0, sizeof(o));
		assert_true(err[0] && !strchr(err, '\n'));
	} else {
		assert_string_equal(err, "");
	}
	return rc;
}

#define TAKES(line)                                    \
	do {                                           \
		if (parse(line))                       \
			fail_msg("%s: %s", line, err); \
	} while (0)

#define REFUSES(line, why)                                                      \
	do {                                                                    \
		assert_int_equal(parse(line), -1);                              \
		if (!strstr(err, why))                                          \
			fail_msg("%s: '%s' does not say '%s'", line, err, why); \
	} while (0)

static void defaults(void **state)
{
	char want[128];

	(void)state;
	TAKES("repo mnt");
	snprintf(want, sizeof(want), "%s/repo", dir);
	assert_string_equal(o.repo, want);
	snprintf(want, sizeof(want), "%s/mnt", dir);
	assert_string_equal(o.mountpoint, want);
	assert_int_equal(o.command, FS_MOUNT);
	assert_int_equal(o.uid, getuid());
	assert_int_equal(o.gid, getgid());
	assert_int_equal(o.umask, 027);
	assert_int_equal(umask(027), 027); /* as it was */
	assert_int_equal(o.max_threads, FS_THREADS);
	assert_false(o.foreground || o.debug || o.single || o.allow_other || o.allow_root || o.default_permissions ||
		     o.clone_fd);
	assert_false(o.ledger.init || o.ledger.readonly || o.ledger.nosync || o.ledger.no_upkeep);
	assert_int_equal(o.ledger.publish, LEDGER_PUBLISH_SYNC);
	assert_int_equal(o.ledger.value_limit, 0);
	assert_string_equal(o.mount_opts, "");
}

static void every_option(void **state)
{
	(void)state;
	TAKES("-f -s -o init,ro,uid=1000,gid=50 repo -ouser,noatime,allow_other mnt -o "
	      "umask=077,publish=async,durability=none "
	      "-o noupkeep,max_threads=3,clone_fd,max_size=3M,noexec");
	assert_true(o.foreground && o.single && !o.debug);
	assert_true(o.ledger.init && o.ledger.readonly && o.ledger.nosync && o.ledger.no_upkeep);
	assert_int_equal(o.uid, 1000);
	assert_int_equal(o.gid, 50);
	assert_int_equal(o.umask, 077);
	assert_true(o.allow_other && o.default_permissions && o.clone_fd);
	assert_int_equal(o.ledger.publish, LEDGER_PUBLISH_ASYNC);
	assert_int_equal(o.max_threads, 3);
	assert_int_equal(o.ledger.value_limit, 3 << 20);
	assert_string_equal(o.mount_opts, "noatime,noexec");
	TAKES("-fd -o ro repo mnt -o rw,publish=sync,durability=full,allow_root,default_permissions -o max_size=1g");
	assert_true(o.debug && o.foreground && !o.ledger.readonly && o.allow_root && !o.allow_other &&
		    o.default_permissions);
	assert_int_equal(o.ledger.value_limit, 1 << 30);
	TAKES("-d repo mnt");
	assert_true(o.foreground);
}

static void generic_options(void **state)
{
	(void)state;
	TAKES("repo mnt -o "
	      "rw,nosuid,nodev,noexec,noatime,relatime,_netdev,noauto,nofail,user,users,defaults,dev,suid,exec,async,sync");
	TAKES("repo mnt -o defaults,x-systemd.automount,x-gvfs-show,X-mount.mkdir,user=joe,comment=x=y,,lazytime,dirsync");
	TAKES("-- repo mnt");
	TAKES("-o ro -- repo mnt");
	setenv("POSIXLY_CORRECT", "1", 1);
	TAKES("repo mnt -o ro");
	assert_true(o.ledger.readonly);
	unsetenv("POSIXLY_CORRECT");
}

static void commands(void **state)
{
	(void)state;
	TAKES("--help");
	assert_int_equal(o.command, FS_HELP);
	TAKES("-h");
	assert_int_equal(o.command, FS_HELP);
	TAKES("--version repo");
	assert_int_equal(o.command, FS_VERSION);
	TAKES("-V");
	assert_int_equal(o.command, FS_VERSION);
}

static void refusals(void **state)
{
	(void)state;
	assert_int_equal(fs_options_parse(&o, 1, (char *[]){"ledgerfs", NULL}, err, sizeof(err)), -1);
	REFUSES("repo", "no mountpoint");
	REFUSES("repo mnt more", "too many");
	REFUSES("repo mnt -- -o", "too many");
	REFUSES("-o", "-o wants a value");
	REFUSES("-x repo mnt", "-x");
	REFUSES("--wrong repo mnt", "--wrong");
	REFUSES("repo mnt --help=1", "--help");
	REFUSES("-o wrong repo mnt", "unknown option 'wrong'");
	REFUSES("-o wro\nng repo mnt", "'wro?ng'");
	REFUSES("-o init=1 repo mnt", "init takes no value");
	REFUSES("-o uid repo mnt", "uid wants a value");
	REFUSES("-o uid= repo mnt", "uid wants a value");
	REFUSES("-o uid=-1 repo mnt", "'-1'");
	REFUSES("-o uid=joe repo mnt", "'joe'");
	REFUSES("-o gid=4294967295 repo mnt", "'4294967295'");
	REFUSES("-o uid=99999999999999999999 repo mnt", "not a number");
	REFUSES("-o umask=8 repo mnt", "not an octal number");
	REFUSES("-o umask=1000 repo mnt", "not an octal number");
	REFUSES("-o max_threads=0 repo mnt", "at least 1");
	REFUSES("-o max_threads=9999999 repo mnt", "up to 1024");
	REFUSES("-o max_size=0 repo mnt", "'0' is not a size");
	REFUSES("-o max_size=K repo mnt", "not a size");
	REFUSES("-o max_size=1KB repo mnt", "not a size");
	REFUSES("-o max_size=1X repo mnt", "not a size");
	REFUSES("-o max_size=9999999999T repo mnt", "not a size");
	REFUSES("-o publish=later repo mnt", "neither sync nor async");
	REFUSES("-o durability=some repo mnt", "neither full nor none");
	REFUSES("-o allow_other,allow_root repo mnt", "exclude");
	REFUSES("absent mnt", "No such file");
	REFUSES("repo absent", "No such file");
	REFUSES("repo file", "not a directory");
	REFUSES(" mnt", "REPO is empty");
	REFUSES("repo .", "hidden by its own mount");
	REFUSES("repo repo", "hidden by its own mount");
	REFUSES("repo /", "hidden by its own mount");
	REFUSES("-o init none/repo mnt", "No such file");
}

static void paths(void **state)
{
	char want[128];

	(void)state;
	TAKES("-o init absent mnt");
	snprintf(want, sizeof(want), "%s/absent", dir);
	assert_string_equal(o.repo, want);
	TAKES("absent/// mnt -o init");
	assert_string_equal(o.repo, want);
	TAKES("./mnt/../absent mnt -o init");
	assert_string_equal(o.repo, want);
	TAKES("/ledgerfs-absent mnt -o init");
	assert_string_equal(o.repo, "/ledgerfs-absent");
	TAKES("repo repo/mnt"); /* below the repository is fine */
	TAKES("repo repo2");    /* a common beginning of the name is no containment */
	TAKES("link mnt");
	snprintf(want, sizeof(want), "%s/repo", dir);
	assert_string_equal(o.repo, want);
}

static int setup(void **state)
{
	(void)state;
	umask(0);
	if (!mkdtemp(dir) || chdir(dir) || mkdir("repo", 0777) || mkdir("repo2", 0777) || mkdir("mnt", 0777) ||
	    mkdir("repo/mnt", 0777))
		return -1;
	umask(027);
	return fclose(fopen("file", "w")) || symlink("repo", "link");
}

static int teardown(void **state)
{
	(void)state;
	fs_options_release(&o);
	return rmdir("repo/mnt") || rmdir("repo") || rmdir("repo2") || rmdir("mnt") || unlink("file") || unlink("link") ||
	       rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults), cmocka_unit_test(every_option), cmocka_unit_test(generic_options),
		cmocka_unit_test(commands), cmocka_unit_test(refusals),     cmocka_unit_test(paths),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
