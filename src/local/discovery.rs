//! Discovery documents: `/api`, `/apis`, their legacy lists and the aggregated form.
