/* SPDX-License-Identifier: MIT */
#include <ledger/error.h>
#include <ledger/oid.h>

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int ledger_oid_parse(struct ledger_oid *out, const char *hex, size_t len)
{
	struct ledger_oid o;

	if (len != LEDGER_OID_HEXSIZE)
		return LEDGER_EINVALID;
	for (size_t i = 0; i < LEDGER_OID_SIZE; i++) {
		int hi = digit(hex[2 * i]), lo = digit(hex[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return LEDGER_EINVALID;
		o.id[i] = (unsigned char)(hi << 4 | lo);
	}
	*out = o;
	return 0;
}

char *ledger_oid_fmt(char buf[LEDGER_OID_HEXSIZE + 1], const struct ledger_oid *oid)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < LEDGER_OID_SIZE; i++) {
		buf[2 * i] = digits[oid->id[i] >> 4];
		buf[2 * i + 1] = digits[oid->id[i] & 15];
	}
	buf[LEDGER_OID_HEXSIZE] = '\0';
	return buf;
}
