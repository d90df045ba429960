"""Maps of drawn scenes and boxed photos against where the objects are."""
