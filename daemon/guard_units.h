/* Units of measure: which can be compared, and by what factor. */
#ifndef DAEMON_GUARD_UNITS_H
#define DAEMON_GUARD_UNITS_H

/* X(unit, class, factor to the class's own unit) */
#define GUARD_UNIT_TABLE(X)                                                                                                 \
	X(MICROGRAM, MASS, 1e-6)                                                                                            \
	X(MILLIGRAM, MASS, 1e-3)                                                                                            \
	X(GRAM, MASS, 1)                                                                                                    \
	X(KILOGRAM, MASS, 1e3)                                                                                              \
	X(JIN, MASS, 500)                                                                                                   \
	X(TON, MASS, 1e6)                                                                                                   \
	X(POUND, MASS, 453.59237)                                                                                           \
	X(POUNDS, POUNDS, 453.59237)                                                                                        \
	X(OUNCE, MASS, 28.349523125)                                                                                        \
	X(MILLILITRE, VOLUME, 1)                                                                                            \
	X(LITRE, VOLUME, 1e3)                                                                                               \
	X(GALLON, VOLUME, 3785.411784)                                                                                      \
	X(PINT, VOLUME, 473.176473)                                                                                         \
	X(CUP, CUP, 1)                                                                                                      \
	X(TABLESPOON, SPOON, 3)                                                                                             \
	X(TEASPOON, SPOON, 1)                                                                                               \
	X(MILLIMETRE, LENGTH, 1e-3)                                                                                         \
	X(CENTIMETRE, LENGTH, 1e-2)                                                                                         \
	X(METRE, LENGTH, 1)                                                                                                 \
	X(KILOMETRE, LENGTH, 1e3)                                                                                           \
	X(MILE, LENGTH, 1609.344)                                                                                           \
	X(FOOT, LENGTH, 0.3048)                                                                                             \
	X(INCH, LENGTH, 0.0254)                                                                                             \
	X(YARD, LENGTH, 0.9144)                                                                                             \
	X(MILLISECOND, DURATION, 1e-3)                                                                                      \
	X(SECOND, DURATION, 1)                                                                                              \
	X(MINUTE, DURATION, 60)                                                                                             \
	X(HOUR, DURATION, 3600)                                                                                             \
	X(DAY, DURATION, 86400)                                                                                             \
	X(WEEK, DURATION, 604800)                                                                                           \
	X(MONTH, MONTHS, 1)                                                                                                 \
	X(YEAR, MONTHS, 12)                                                                                                 \
	X(DECADE, MONTHS, 120)                                                                                              \
	X(CENTURY, MONTHS, 1200)                                                                                            \
	X(PERCENT, PERCENT, 1)                                                                                              \
	X(DEGREE, DEGREE, 1)                                                                                                \
	X(CELSIUS, CELSIUS, 1)                                                                                              \
	X(FAHRENHEIT, FAHRENHEIT, 1)                                                                                        \
	X(BIT, BIT, 1)                                                                                                      \
	X(BYTE, DATA, 1)                                                                                                    \
	X(KILOBYTE, DATA, 1e3)                                                                                              \
	X(MEGABYTE, DATA, 1e6)                                                                                              \
	X(GIGABYTE, DATA, 1e9)                                                                                              \
	X(TERABYTE, DATA, 1e12)                                                                                             \
	X(MPH, SPEED, 1.609344)                                                                                             \
	X(KPH, SPEED, 1)                                                                                                    \
	X(WATT, POWER, 1)                                                                                                   \
	X(KILOWATT, POWER, 1e3)                                                                                             \
	X(VOLT, VOLTAGE, 1)                                                                                                 \
	X(AMPERE, CURRENT, 1)                                                                                               \
	X(HERTZ, FREQUENCY, 1)                                                                                              \
	X(MEGAHERTZ, FREQUENCY, 1e6)                                                                                        \
	X(GIGAHERTZ, FREQUENCY, 1e9)                                                                                        \
	X(CALORIE, ENERGY, 1)                                                                                               \
	X(DOLLAR, DOLLAR, 1)                                                                                                \
	X(EURO, EURO, 1)                                                                                                    \
	X(STERLING, STERLING, 1)                                                                                            \
	X(YEN, YEN, 1)                                                                                                      \
	X(YUAN, YUAN, 1)                                                                                                    \
	X(YUAN_OR_YEN, YUAN_OR_YEN, 1)                                                                                      \
	X(RUPEE, RUPEE, 1)                                                                                                  \
	X(WON, WON, 1)                                                                                                      \
	X(FRANC, FRANC, 1)

enum guard_unit {
#define X(unit, class, factor) UNIT_##unit,
	GUARD_UNIT_TABLE(X)
#undef X
		UNIT_COUNT
};

/* What kind of quantity a number is; those before MASS have no unit. */
enum guard_quantity {
	QUANTITY_NUMBER,
	QUANTITY_ORDINAL,
	QUANTITY_MONTH, /* of the year */
	QUANTITY_WEEKDAY,
	QUANTITY_DAY_OR_MONTH, /* of a date such as 1/5/2023 */
	QUANTITY_TIME,         /* minutes of the day */
	QUANTITY_MASS,
	QUANTITY_POUNDS, /* of mass or of money */
	QUANTITY_VOLUME,
	QUANTITY_CUP,
	QUANTITY_SPOON,
	QUANTITY_LENGTH,
	QUANTITY_DURATION,
	QUANTITY_MONTHS, /* how many */
	QUANTITY_PERCENT,
	QUANTITY_DEGREE,
	QUANTITY_CELSIUS,
	QUANTITY_FAHRENHEIT,
	QUANTITY_BIT,
	QUANTITY_DATA,
	QUANTITY_SPEED,
	QUANTITY_POWER,
	QUANTITY_VOLTAGE,
	QUANTITY_CURRENT,
	QUANTITY_FREQUENCY,
	QUANTITY_ENERGY,
	QUANTITY_DOLLAR, /* from here on money */
	QUANTITY_EURO,
	QUANTITY_STERLING,
	QUANTITY_YEN,
	QUANTITY_YUAN,
	QUANTITY_YUAN_OR_YEN,
	QUANTITY_RUPEE,
	QUANTITY_WON,
	QUANTITY_FRANC,
};

#endif
