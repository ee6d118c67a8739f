# mdbatch: make, make install, make installcheck. PGXS, any PostgreSQL from 15.

MODULE_big = mdbatch
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))

EXTENSION = mdbatch
DATA = mdbatch--1.0.sql
PGFILEDESC = "mdbatch - batches small updates in shared memory"

PG_CPPFLAGS = -I$(srcdir)/src
# Without what PostgreSQL's own headers and callbacks are warned of. Calls within
# the library need not look whether another one has the symbol: from 16 on
# PostgreSQL hides them.
PG_CFLAGS = -fno-semantic-interposition -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-ignored-attributes -Wno-ignored-optimization-argument \
	-Wno-unknown-warning-option

REGRESS = $(sort $(patsubst sql/%.sql,%,$(wildcard sql/*.sql)))
REGRESS_OPTS = --temp-instance=tmp_check_regress --temp-config=sql/regress.conf
ISOLATION = $(sort $(patsubst specs/%.spec,%,$(wildcard specs/*.spec)))
ISOLATION_OPTS = --temp-instance=tmp_check_iso \
	--temp-config=specs/isolation.conf
TAP_TESTS = 1
EXTRA_CLEAN = tmp_check tmp_check_regress tmp_check_iso

PG_CONFIG = pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

ifeq ($(PORTNAME), linux)
SHLIB_LINK += -Wl,-Bsymbolic-functions
endif

# PGXS does not know what includes what.
$(OBJS) $(OBJS:.o=.bc): $(wildcard $(srcdir)/src/*.h)

# The release for PGXN, of what is committed and .gitattributes does not leave
# out. META.json has the version of the release; it is one of the version that
# mdbatch.control says, which has two numbers.
EXTVERSION = $(shell sed -n "s/^default_version = '\(.*\)'$$/\1/p" $(EXTENSION).control)
DISTVERSION = $(shell perl -MJSON::PP -0777 -ne 'print decode_json($$_)->{version}' META.json)
DIST = $(EXTENSION)-$(DISTVERSION)

.PHONY: dist
dist:
	@case '$(DISTVERSION)' in '$(EXTVERSION)'.*) ;; *) \
		echo 'META.json says $(DISTVERSION), $(EXTENSION).control $(EXTVERSION)' >&2; \
		exit 1;; esac
	@git diff-index --quiet HEAD -- || { \
		echo 'there are changes that are not committed' >&2; exit 1; }
	git archive --format=zip --prefix=$(DIST)/ --output=$(DIST).zip HEAD
