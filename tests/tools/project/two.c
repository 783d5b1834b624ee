#include "one.h"

int two(void)
{
#ifdef OTHER
	return 3;
#else
	return 2;
#endif
}
