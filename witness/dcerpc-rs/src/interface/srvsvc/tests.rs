use super::*;

struct TwoShares;

impl ShareProvider for TwoShares {
    fn server(&self) -> ServerIdentity {
        ServerIdentity { name: "FS1".into(), domain: "WORKGROUP".into(), comment: "here".into(), version: (10, 0) }
    }

    fn shares(&self, _caller: Option<&Identity>) -> Vec<ShareInfo> {
        let share = |name: &str, share_type, flags| ShareInfo {
            name: name.into(),
            share_type,
            remark: format!("about {name}"),
            path: format!("C:\\{name}"),
            max_uses: u32::MAX,
            flags,
            security_descriptor: Some(vec![1, 2, 3]),
            ..ShareInfo::default()
        };
        vec![share("data", SHARE_TYPE_DISK, SHARE_FLAG_CONTINUOUS_AVAILABILITY), share("IPC$", SHARE_TYPE_IPC, 0)]
    }
}

fn service() -> Srvsvc {
    Srvsvc::new(Arc::new(TwoShares))
}

fn enum_request(level: u32, preferred_bytes_max: u32, resume: Option<u32>) -> Vec<u8> {
    let mut out = NdrWriter::new();
    out.unique_wide_string(Some("\\\\fs1"));
    out.u32(level);
    out.u32(level);
    if share_info::ENUM_LEVELS.contains(&level) {
        out.referent();
        out.u32(0);
        out.null();
    }
    out.u32(preferred_bytes_max);
    out.pointer(resume.is_some());
    if let Some(resume) = resume {
        out.u32(resume);
    }
    out.finish()
}

#[test]
fn level_1_lists_names_types_and_remarks() {
    let answer = service().share_enum(&mut NdrReader::new(&enum_request(1, u32::MAX, Some(0))), None).unwrap();
    let mut reader = NdrReader::new(&answer);
    assert_eq!((reader.u32().unwrap(), reader.u32().unwrap()), (1, 1));
    assert!(reader.pointer().unwrap());
    assert_eq!(reader.u32().unwrap(), 2);
    assert!(reader.pointer().unwrap());
    assert_eq!(reader.u32().unwrap(), 2);
    let mut types = Vec::new();
    for _ in 0..2 {
        assert!(reader.pointer().unwrap());
        types.push(reader.u32().unwrap());
        assert!(reader.pointer().unwrap());
    }
    assert_eq!(types, [SHARE_TYPE_DISK, SHARE_TYPE_IPC]);
    let strings: Vec<String> = (0..4).map(|_| reader.wide_string().unwrap()).collect();
    assert_eq!(strings, ["data", "about data", "IPC$", "about IPC$"]);
    assert_eq!(reader.u32().unwrap(), 2);
    assert!(reader.pointer().unwrap());
    assert_eq!(reader.u32().unwrap(), 0);
    assert_eq!(reader.u32().unwrap(), STATUS_OK);
    assert_eq!(reader.remaining(), 0);
}

#[test]
fn a_short_preferred_length_gives_one_entry_and_a_resume_handle() {
    let answer = service().share_enum(&mut NdrReader::new(&enum_request(0, 1, Some(0))), None).unwrap();
    assert_eq!(answer[answer.len() - 4..], STATUS_MORE_DATA.to_le_bytes());
    assert_eq!(answer[answer.len() - 8..answer.len() - 4], 1u32.to_le_bytes());
    let answer = service().share_enum(&mut NdrReader::new(&enum_request(0, 1, Some(1))), None).unwrap();
    assert_eq!(answer[answer.len() - 4..], STATUS_OK.to_le_bytes());
}

#[test]
fn unknown_levels_and_shares_have_their_codes() {
    let answer = service().share_enum(&mut NdrReader::new(&enum_request(77, 0, None)), None).unwrap();
    assert_eq!(answer, [77, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x7C, 0, 0, 0]);
    let ask = |name: &str, level| {
        let mut out = NdrWriter::new();
        out.unique_wide_string(None);
        out.wide_string(name);
        out.u32(level);
        service().share_information(&mut NdrReader::new(&out.finish()), None).unwrap()
    };
    assert_eq!(ask("nobody", 1)[8..], STATUS_SHARE_NOT_FOUND.to_le_bytes());
    assert_eq!(ask("DATA", 1005)[8..], [0, 0x40, 0, 0, 0, 0, 0, 0]);
    assert_eq!(ask("data", 99)[4..], STATUS_INVALID_LEVEL.to_le_bytes());
}

#[test]
fn days_become_dates() {
    assert_eq!(civil_from_days(0), (1970, 1, 1));
    assert_eq!(civil_from_days(19_782), (2024, 2, 29));
    assert_eq!(civil_from_days(20_777), (2026, 11, 20));
}
