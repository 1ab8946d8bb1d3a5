//! How two versions of an `http` step differ.

use crate::difference::Field;
use signoff_api::step::HttpStep;

pub(super) fn fields(step: &HttpStep) -> Vec<Field> {
    let HttpStep {
        url,
        connection,
        path,
        method,
        headers,
        query,
        body,
        form,
        text,
        from,
        expect,
        schema,
        redirects,
        save,
        output,
    } = step;
    vec![
        Field::new("http.connection", connection.as_ref()),
        Field::new("http.method", method.as_ref()).default("GET, or POST with a body"),
        Field::new("http.url", url.as_ref()),
        Field::new("http.path", path.as_ref()),
        Field::new("http.headers", headers.as_ref()),
        Field::new("http.query", query.as_ref()),
        Field::new("http.body", body.as_ref()),
        Field::new("http.form", form.as_ref()),
        Field::new("http.text", text.as_ref()),
        Field::new("http.from", from.as_ref()),
        Field::new("http.expect", expect.as_ref()).default("any status from 200 to 299"),
        Field::new("http.schema", schema.as_ref()),
        Field::new("http.redirects", redirects.as_ref()).default("0"),
        Field::new("http.save", save.as_ref()).default("false"),
        Field::new("http.output", output.as_ref()).default("the response's body"),
    ]
}
